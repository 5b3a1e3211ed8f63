"""The progress of `gramserve compute` on standard error."""

import time
from typing import TYPE_CHECKING, Self

from gramserve.client.cards import count_text

if TYPE_CHECKING:
    from gramserve.blocks import Progress


class ComputeBar:
    """A rich bar over the blocks of one run.

    Parameters
    ----------
    visible : bool
        False draws nothing.
    """

    def __init__(self, *, visible: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("blocks"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not visible,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, rate="")
        self._began: float | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, progress: "Progress") -> None:
        """Draw how far the run is.

        Parameters
        ----------
        progress : Progress
            From the scheduler.
        """
        rate = ""
        if progress.entries:
            self._began = self._began or time.monotonic()
            seconds = time.monotonic() - self._began
            if seconds > 1:
                rate = f"{count_text(progress.entries / seconds)} entries/s"
        self._bar.update(
            self._task,
            description=progress.waiting_reason or progress.stage,
            total=progress.total,
            completed=progress.done,
            rate=rate,
        )
