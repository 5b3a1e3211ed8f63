"""How fast a job is, from what it reported lately."""

from collections import deque
from dataclasses import dataclass

from gramserve.blocks import Progress

_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate and what follows from it."""

    entries_per_s: float | None = None
    """Matrix entries computed per second."""
    eta_s: float | None = None
    """Seconds until the end at that rate."""


class PaceMeter:
    """Rate over the last minute.

    Parameters
    ----------
    entry_count : int
        Entries of all blocks of the matrix.
    """

    def __init__(self, entry_count: int) -> None:
        self._entry_count = entry_count
        self._samples: deque[tuple[float, int]] = deque()

    def observe(self, progress: Progress, now: float) -> Pace:
        """Take a sample.

        Parameters
        ----------
        progress : Progress
            From the scheduler.
        now : float
            Monotonic seconds.

        Returns
        -------
        Pace
            Without numbers until there are two samples of blocks.
        """
        if progress.stage != "blocks" or not progress.entries:
            # Variances come before blocks; the clock of the blocks starts after them.
            self._samples.clear()
        self._samples.append((now, progress.entries))
        while len(self._samples) > 2 and self._samples[1][0] < now - _WINDOW_S:
            self._samples.popleft()
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        if end <= begin or after <= before:
            return Pace()
        rate = (after - before) / (end - begin)
        left = self._entry_count * (1 - progress.done / progress.total)
        return Pace(rate, left / rate)
