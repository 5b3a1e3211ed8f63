"""The table of transitions, without a database."""

import pytest

from gramserve.catalog.transitions import ACTIVE_STATES, HELD_STATES, TRANSITIONS, check_transition
from gramserve.errors import IllegalTransitionError
from gramserve.spec.status import JOB_STATES, TERMINAL_STATES


def test_the_table_is_about_the_states_of_the_contract():
    assert set(TRANSITIONS) == set(JOB_STATES)
    assert set().union(*TRANSITIONS.values()) == set(JOB_STATES)
    assert set(JOB_STATES) == ACTIVE_STATES | TERMINAL_STATES
    assert HELD_STATES < ACTIVE_STATES


def test_finished_is_finished_and_every_other_state_can_end():
    for state in JOB_STATES:
        reached, seen = {state}, set()
        while reached:
            seen |= reached
            reached = set().union(*(TRANSITIONS[one] for one in reached)) - seen
        assert (seen == {state}) == (state in TERMINAL_STATES)
        assert "cancelled" in seen or state in TERMINAL_STATES


def test_only_a_planned_job_runs_and_only_a_cancelling_or_idle_one_is_cancelled():
    before = {to: {state for state in JOB_STATES if to in TRANSITIONS[state]} for to in JOB_STATES}
    assert before["running"] == {"planning"}
    assert before["planning"] == {"queued"}
    assert before["cancelling"] == {"planning", "running"}
    assert before["cancelled"] == {"queued", "paused", "cancelling"}


@pytest.mark.parametrize("state", JOB_STATES)
@pytest.mark.parametrize("to_state", JOB_STATES)
def test_a_refusal_names_both_states(state, to_state):
    if to_state in TRANSITIONS[state]:
        check_transition("j1", state, to_state)
        return
    with pytest.raises(IllegalTransitionError, match=f"is {state} and cannot become {to_state}"):
        check_transition("j1", state, to_state)
