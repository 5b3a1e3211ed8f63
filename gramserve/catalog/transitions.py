"""Which state of a job may follow which: one pure table.

::

    queued ---> planning ---> running ---> succeeded | failed
      |  ^          |            |
      |  `----------+------------'         interrupted, or paused and resumed
      |             `--> cancelling ---> cancelled
      `--> paused, cancelled

A job that nobody holds (queued, paused) is cancelled at once; one that a dispatcher holds goes
through ``cancelling`` until the dispatcher has let go.
"""

from collections.abc import Mapping

from gramserve.errors import IllegalTransitionError
from gramserve.spec.status import JOB_STATES, TERMINAL_STATES

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"planning", "paused", "failed", "cancelled"}),
    "planning": frozenset({"running", "queued", "paused", "cancelling", "succeeded", "failed"}),
    "running": frozenset({"queued", "paused", "cancelling", "succeeded", "failed"}),
    "paused": frozenset({"queued", "cancelled"}),
    "cancelling": frozenset({"cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The states that may follow each state."""

HELD_STATES: frozenset[str] = frozenset({"planning", "running", "cancelling"})
"""The states in which a dispatcher holds the job."""

ACTIVE_STATES: frozenset[str] = frozenset(JOB_STATES) - TERMINAL_STATES
"""The states of a job that may still compute."""

FRESH_EPOCH_STATES: frozenset[str] = frozenset({"queued", "planning"})
"""Entering one of these begins a new epoch: whoever held the job before holds it no longer."""


def check_transition(job: str, state: str, to_state: str) -> None:
    """Refuse a transition that the table does not hold.

    Parameters
    ----------
    job : str
        Id of the job, for the message.
    state, to_state : str
        Where the job is, and where it should go.

    Raises
    ------
    IllegalTransitionError
        Naming both states and what is possible.

    Examples
    --------
    >>> check_transition("j1", "running", "succeeded")
    >>> check_transition("j1", "failed", "running")
    Traceback (most recent call last):
    ...
    gramserve.errors.IllegalTransitionError: job j1 is failed and cannot become running; \
it is finished
    """
    following = TRANSITIONS[state]
    if to_state in following:
        return
    possible = f"it can become {', '.join(sorted(following))}" if following else "it is finished"
    raise IllegalTransitionError(
        f"job {job} is {state} and cannot become {to_state}; {possible}",
        job=job,
        state=state,
        to_state=to_state,
    )
