"""The blocks of one computation: taken over, computed, or left to others and waited for."""

from collections.abc import Callable, Collection
from threading import Event

from gramserve.blocks import GramWork, Progress, RunOutcome, Scheduler
from gramserve.plan import BlockIndex
from gramserve.service.awaited import Awaited
from gramserve.service.background import run_in_daemon
from gramserve.service.others import Others
from gramserve.service.planner import PlannedJob, Planner


class Computation:
    """Brings every missing block into a matrix, by the cheapest way.

    Parameters
    ----------
    planner : Planner
        Takes blocks over.
    scheduler : Scheduler
        Computes them.
    others : Others
        Computations that were begun before.
    stop, leave : Event
        Set to end it, and to drop what workers have begun.
    """

    def __init__(
        self, planner: Planner, scheduler: Scheduler, others: Others, stop: Event, leave: Event
    ) -> None:
        self.reason: str | None = None
        """Why nothing is computed although blocks are missing, or None."""
        self.taken_over = 0
        """Blocks that were taken over after the first were computed or waited for."""
        self._planner, self._scheduler, self._others = planner, scheduler, others
        self._stop, self._leave = stop, leave
        self._awaited: Awaited | None = None

    def prefer(self, blocks: Collection[BlockIndex]) -> None:
        """Move blocks to the front, here or where they are computed.

        Parameters
        ----------
        blocks : collection of (int, int)
            Canonical blocks.
        """
        if self._awaited is None:
            self._scheduler.prefer(blocks)
            return
        own, theirs = self._awaited.split(blocks)
        self._scheduler.prefer(own)
        self._others.prefer(theirs)

    async def run(
        self, planned: PlannedJob, work: GramWork, observe: Callable[[Progress], None]
    ) -> RunOutcome:
        """Take over what exists, compute what nobody else makes, and wait for the rest.

        Parameters
        ----------
        planned : PlannedJob
            Recorded.
        work : GramWork
            Of the plan.
        observe : callable
            See :meth:`gramserve.blocks.Scheduler.run`.

        Returns
        -------
        RunOutcome
            Nothing is left to others unless it was stopped.
        """
        is_first = True
        while True:
            taken = await self._planner.adopt(planned, self._stop.is_set)
            if not is_first:  # at first, they count as found
                self.taken_over += taken
            running = await self._others.begun(self._stop.is_set)
            self._awaited = await self._planner.await_others(planned, running)
            outcome = await self._compute(work, observe)
            if not outcome.held or outcome.failed or outcome.stopped or self._stop.is_set():
                self.reason = None
                return outcome
            is_first = False
            self.reason = (
                f"{outcome.held} blocks are computed for another job; they are taken over as soon "
                "as they are stored"
            )
            await self._others.wait_for(self._awaited)

    async def _compute(self, work: GramWork, observe: Callable[[Progress], None]) -> RunOutcome:
        held: Collection[BlockIndex] = () if self._awaited is None else self._awaited.blocks
        return await run_in_daemon(
            lambda: self._scheduler.run(work, observe, self._stop.is_set, self._leave.is_set, held),
            "computation",
        )
