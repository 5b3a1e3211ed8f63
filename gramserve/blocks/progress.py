"""How far a run is, and how it ended."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from gramserve.blocks.ledger import Failure, Ledger
from gramserve.blocks.task import BlockResult
from gramserve.blocks.work import GramWork
from gramserve.plan import BlockIndex, BlockMap

NO_WORKERS = "no worker is connected; it goes on when one is"
"""Why nothing is computed without workers."""


@dataclass(frozen=True)
class Progress:
    """How far a run is; handed to the observer after every change."""

    total: int
    """Blocks of the grid."""
    done: int
    """Blocks stored, before this run or in it."""
    reused: int
    """Of these, stored before this run."""
    failed: int
    """Blocks set aside."""
    in_flight: int
    """Blocks handed out."""
    entries: int
    """Entries computed in this run."""
    stage: str
    """"variances" or "blocks"."""
    waiting_reason: str | None = None
    """Why nothing is handed out, or None."""
    results: tuple[BlockResult, ...] = ()
    """Blocks that were stored or failed since the last progress."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    total: int
    done: int
    reused: int
    failed: dict[BlockIndex, Failure] = field(default_factory=dict)
    """Blocks set aside, with their last failure."""
    stopped: bool = False
    """Whether it was asked to stop before the end."""
    unnamed: int = 0
    """Further blocks that failed as those in ``failed`` did."""
    held: int = 0
    """Blocks that were left out on purpose: somebody else makes them."""

    @property
    def failed_count(self) -> int:
        """How many blocks were set aside."""
        return len(self.failed) + self.unnamed

    def first_failure(self) -> tuple[str, str]:
        """Return code and message of an error for a run that set blocks aside."""
        (i, j), failure = next(iter(self.failed.items()))
        message = (
            f"{self.failed_count} of {self.total} blocks failed, {self.done} are stored; "
            f"block ({i}, {j}): {failure.message}"
        )
        return failure.code, message

    @property
    def is_complete(self) -> bool:
        """Whether every block is stored."""
        return self.done == self.total


Observer = Callable[[Progress], None]
StopSign = Callable[[], bool]


@dataclass
class Run:
    """What one run knows of itself."""

    work: GramWork
    observer: Observer
    stored: BlockMap
    reused: int
    entries: int = 0
    stage: str = "blocks"
    slots: int = 1
    held: Collection[BlockIndex] = ()
    """Blocks that are left out."""
    news: threading.Event = field(default_factory=threading.Event)
    """Set when some of these may have been stored."""

    @property
    def left_out(self) -> int:
        """How many of those are still missing."""
        return sum(block not in self.stored for block in self.held)

    @property
    def total(self) -> int:
        """Blocks of the grid."""
        return self.work.grid.block_count

    @property
    def done(self) -> int:
        """Blocks that are stored."""
        return len(self.stored)

    def outcome(
        self,
        failed: dict[BlockIndex, Failure] | None = None,
        *,
        stopped: bool = False,
        unnamed: int = 0,
    ) -> RunOutcome:
        """Return how the run ended."""
        held = self.left_out
        return RunOutcome(self.total, self.done, self.reused, failed or {}, stopped, unnamed, held)

    def take_news(self) -> bool:
        """Find blocks that were left out and are stored by now; return whether there are any."""
        if not self.news.is_set():
            return False
        self.news.clear()
        found = self.work.stored_blocks()
        return sum(self.stored.add(block) for block in self.held if block in found) > 0

    def waiting_reason(self, ledger: Ledger) -> str | None:
        """Return why nothing is computed now, or None."""
        return ledger.waiting_reason or (None if self.slots else NO_WORKERS)

    def report(self, ledger: Ledger | None, results: Sequence[BlockResult] = ()) -> None:
        """Tell the observer."""
        self.observer(
            Progress(
                total=self.total,
                done=self.done,
                reused=self.reused,
                failed=ledger.failed if ledger and self.stage == "blocks" else 0,
                in_flight=ledger.in_flight if ledger else 0,
                entries=self.entries,
                stage=self.stage,
                waiting_reason=self.waiting_reason(ledger) if ledger else None,
                results=tuple(results),
            )
        )
