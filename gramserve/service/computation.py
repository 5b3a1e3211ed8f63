"""The blocks of one computation: taken over, computed, or left to others and waited for."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from threading import Event

import structlog

from gramserve.blocks import GramWork, Progress, RunOutcome, Scheduler
from gramserve.errors import GramserveError
from gramserve.plan import BlockIndex
from gramserve.service.awaited import Awaited
from gramserve.service.background import run_in_daemon
from gramserve.service.others import Others
from gramserve.service.planner import PlannedJob, Planner

_LOOK_S = 1.0
_REST_PER_LOOK = 5
"""Between two looks for blocks that others stored it rests so many times as long as one took."""

_log = structlog.get_logger(__name__)


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
        self._planner, self._scheduler, self._others = planner, scheduler, others
        self._stop, self._leave = stop, leave
        self._entries = 0
        self._awaited: Awaited | None = None
        self._passing_on: asyncio.Task[None] | None = None

    def prefer(self, blocks: Collection[BlockIndex]) -> None:
        """Move blocks to the front, here or where they are computed.

        Parameters
        ----------
        blocks : collection of (int, int)
            Canonical blocks that somebody waits for. Of those that are left to others the
            scheduler takes none.
        """
        self._scheduler.prefer(blocks)
        awaited = self._awaited
        if awaited is None or not any(block in awaited.blocks for block in blocks):
            return
        if self._passing_on is None or self._passing_on.done():
            self._passing_on = asyncio.create_task(self._pass_on(awaited, blocks))

    async def _pass_on(self, awaited: Awaited, blocks: Collection[BlockIndex]) -> None:
        self._others.prefer(await asyncio.to_thread(awaited.origins, blocks))

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
        while True:
            # In this order: what those who have ended meanwhile stored is taken over next, and
            # of those who go on every block is either there or awaited.
            running = await self._others.begun(self._stop.is_set)
            await self._planner.adopt(planned, self._stop.is_set)
            self._awaited = await self._planner.await_others(planned, running)
            self.reason = None
            outcome = await self._compute(planned, work, observe)
            if not outcome.held or outcome.failed or outcome.stopped or self._stop.is_set():
                return outcome
            self.reason = (
                f"{outcome.held} blocks are computed for another job; they are taken over as soon "
                "as they are stored"
            )
            await self._others.wait_for_stored(_LOOK_S)

    async def _compute(
        self, planned: PlannedJob, work: GramWork, observe: Callable[[Progress], None]
    ) -> RunOutcome:
        held: Collection[BlockIndex] = () if self._awaited is None else self._awaited.blocks
        before = self._entries

        def seen(progress: Progress) -> None:
            # Every pass counts from zero; whoever observes sees one computation.
            self._entries = before + progress.entries
            observe(replace(progress, entries=self._entries))

        following = asyncio.create_task(self._follow(planned)) if held else None
        try:
            return await run_in_daemon(
                lambda: self._scheduler.run(
                    work, seen, self._stop.is_set, self._leave.is_set, held
                ),
                "computation",
            )
        finally:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following

    async def _follow(self, planned: PlannedJob) -> None:
        """Take over what others store while own blocks are computed."""
        rest_s = _LOOK_S
        while True:
            await asyncio.sleep(rest_s)
            began = time.monotonic()
            try:
                if await self._planner.adopt(planned, self._stop.is_set):
                    self._scheduler.look_again()
            except GramserveError as error:
                # It is tried again, at the latest when the own blocks are done.
                _log.warning("blocks not taken over", error=str(error))
            rest_s = max(_LOOK_S, _REST_PER_LOOK * (time.monotonic() - began))
