"""A short campaign of kills; a hundred by tests/benchmarks/kill_campaign.py."""

import pytest
from campaign import Campaign


@pytest.mark.parametrize(("kills", "workers"), [(4, 0), (1, 2)], ids=["cluster", "embedded"])
def test_every_kill_costs_at_most_the_window_and_no_value(tmp_path, kills, workers):
    losses = Campaign(tmp_path, seed=3, workers=workers).run(kills)
    assert losses.strikes == kills
    assert losses.jobs >= 1
    assert 0 <= losses.repeated <= kills * losses.window
