"""Shares: whose task goes to the workers next, when several runs have some.

Stride scheduling [1]_: every run has a clock of its own that moves by the seconds of work it hands
out, divided by its weight; the run whose clock is furthest behind goes next. Worker time is
thereby shared in proportion to the weights, whatever the size of the blocks.

.. [1] C. A. Waldspurger and W. E. Weihl, "Stride Scheduling: Deterministic Proportional-Share
   Resource Management", MIT/LCS/TM-528, 1995.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PRIORITY_STEP = 10.0
"""A priority that is higher by this much gets twice the worker time."""

_FIRST_COST_S = 1.0
"""What a task counts for while nobody knows how long it takes, in seconds."""

_PATIENCE_S = 1.0
"""A run that was passed the turn and did not take it for so long is passed over, in seconds."""


class Share:
    """The part of the workers that one run gets; made by :meth:`Shares.join`.

    Parameters
    ----------
    shares : Shares
        All parts.
    user : str
        Whose run it is: the runs of one user divide what a single one would get.
    priority : int
        Of the run.
    wake : callable
        Called, from any thread, when it is the run's turn.
    """

    def __init__(self, shares: "Shares", user: str, priority: int, wake: Callable[[], None]):
        self._shares = shares
        self.user = user
        self.priority = priority
        self.wake = wake
        self.clock = 0.0
        self.out = 0
        self.asked: float | None = None
        self.is_urgent = False

    def take(self, capacity: int, *, urgent: bool = False) -> bool:
        """Ask to hand out one task; call :meth:`spend` if it was, :meth:`give_back` at its end.

        Parameters
        ----------
        capacity : int
            Tasks that all runs together may have out.
        urgent : bool
            Whether somebody waits for its blocks: such a task goes before those of other runs,
            and is charged as they are.

        Returns
        -------
        bool
            Whether it is this run's turn. If not, :attr:`wake` is called when it may be.
        """
        return self._shares._take(self, capacity, urgent)

    def rest(self) -> None:
        """Say that there is nothing to hand out at the moment."""
        self._shares._rest(self)

    def spend(self, seconds: float | None) -> float:
        """Charge for a task that was handed out.

        Parameters
        ----------
        seconds : float or None
            How long it should take; None when nobody knows.

        Returns
        -------
        float
            What was charged, for :meth:`give_back`.
        """
        return self._shares._spend(self, _FIRST_COST_S if seconds is None else seconds)

    def give_back(self, charged: float, seconds: float | None = None) -> None:
        """Say that a task has ended.

        Parameters
        ----------
        charged : float
            What :meth:`spend` returned.
        seconds : float, optional
            How long it really took; what was charged when None.
        """
        self._shares._give_back(self, 0.0 if seconds is None else seconds - charged)


class Shares:
    """All runs that share the workers of one executor; may be used from any thread.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.

    Notes
    -----
    A run of priority p has the weight ``2 ** (p / 10) / n`` where n is how many runs its user
    has. A run that joins, or comes back after a rest, begins at the clock of the others: nobody
    saves up worker time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: list[Share] = []
        self._out = 0
        self._now = 0.0

    @contextmanager
    def join(self, user: str, priority: int, wake: Callable[[], None]) -> Iterator[Share]:
        """Let a run take part until the context ends.

        Parameters
        ----------
        user : str
            Whose it is.
        priority : int
            The higher, the larger its part.
        wake : callable
            Called, from any thread, when it is the run's turn.

        Yields
        ------
        Share
        """
        share = Share(self, user, priority, wake)
        with self._lock:
            share.clock = self._now
            self._runs.append(share)
        try:
            yield share
        finally:
            with self._lock:
                self._runs.remove(share)
                self._out -= share.out
                following = self._first()
            if following is not None:
                following.wake()

    def _weight(self, share: Share) -> float:
        mates = sum(other.user == share.user for other in self._runs)
        return float(2.0 ** (share.priority / _PRIORITY_STEP) / max(mates, 1))

    def _first(self) -> Share | None:
        """Return the run whose turn it is, among those that asked lately."""
        since = self._clock() - _PATIENCE_S
        asking = [run for run in self._runs if run.asked is not None and run.asked >= since]
        return min(asking, key=lambda run: (not run.is_urgent, run.clock), default=None)

    def _take(self, share: Share, capacity: int, urgent: bool) -> bool:
        with self._lock:
            if share.asked is None:
                share.clock = max(share.clock, self._now)
            share.asked, share.is_urgent = self._clock(), urgent
            if self._out >= capacity:
                return False
            first = self._first()
            if first is share or first is None:
                share.out += 1
                self._out += 1
                self._now = max(self._now, share.clock)
                return True
        first.wake()
        return False

    def _rest(self, share: Share) -> None:
        with self._lock:
            was_asking, share.asked = share.asked is not None, None
            following = self._first() if was_asking else None
        if following is not None:
            following.wake()

    def _spend(self, share: Share, seconds: float) -> float:
        with self._lock:
            share.clock += seconds / self._weight(share)
        return seconds

    def _give_back(self, share: Share, more: float) -> None:
        with self._lock:
            share.clock += more / self._weight(share)
            share.out -= 1
            self._out -= 1
            following = self._first()
        if following is not None and following is not share:
            following.wake()
