"""A short campaign of kills; hundreds, and others, by tests/benchmarks/kill_campaign.py."""

from campaign import Campaign

KILLS = 3


def test_every_kill_costs_at_most_the_window_and_no_value(tmp_path):
    losses = Campaign(tmp_path, seed=3).run(KILLS)
    assert losses.strikes == KILLS
    assert losses.jobs >= 1
    assert 0 <= losses.repeated <= KILLS * losses.window
