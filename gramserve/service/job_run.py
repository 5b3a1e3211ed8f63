"""One computation of Gram matrices, from its first claimed job to its end."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import batched

import structlog

from gramserve.blocks import (
    BlockResult,
    Executor,
    GramWork,
    Progress,
    RunOutcome,
    Scheduler,
    Shares,
    open_work,
)
from gramserve.catalog import INTERRUPTED, Catalog, JobProgress, JobRecord
from gramserve.config import Settings
from gramserve.errors import CatalogError, GramserveError, IllegalTransitionError
from gramserve.plan import BlockIndex, BlockMap
from gramserve.service.computation import Computation
from gramserve.service.inspection import drop_damaged
from gramserve.service.others import Others
from gramserve.service.pace import Pace, PaceMeter
from gramserve.service.patience import Patience
from gramserve.service.planner import Planner
from gramserve.service.provenance import Provenance
from gramserve.store import DatasetStore, StateLayout

_FLUSH_S = 0.25
"""Results are written to the catalog together, this often."""

_MOST_UNWRITTEN = 50_000
"""Results that may wait for the catalog; then the scheduler waits with them."""

_FAILURES_AT_ONCE = 5000
_NARROWED = "the job that it ran with wanted more and was ended; it goes on at once"
_LOST_AGAIN = "a block was found damaged while it ran; it goes on from those that are stored"
_STARTING = "it is being planned, and workers start"

_log = structlog.get_logger(__name__)


class JobRun:
    """Computes the Gram matrices of a claimed job, once for all jobs that ask for them.

    Jobs come and go while it runs: one that asks for nothing else is attached, one that is
    cancelled or paused is left out. The computation ends when nobody wants it any more.

    Parameters
    ----------
    job : JobRecord
        As the claim returned it, planning.
    settings, layout, catalog, datasets, executor, planner
        Parts of the server.
    shares : Shares
        The runs that share the workers.
    others : Others
        The computations that were begun before this one.
    on_open : callable
        Called when further jobs may be attached.
    on_stored : callable
        Called whenever blocks were stored.
    """

    def __init__(
        self,
        job: JobRecord,
        *,
        settings: Settings,
        layout: StateLayout,
        catalog: Catalog,
        datasets: DatasetStore,
        executor: Executor,
        planner: Planner,
        shares: Shares,
        others: Others,
        on_open: Callable[[], None],
        on_stored: Callable[[], None],
    ) -> None:
        self.job = job
        self.jobs: dict[str, JobRecord] = {job.id: job}
        self.grams = frozenset(job.grams.values())
        self.is_open = False
        """Whether further jobs may be attached."""
        self.is_recorded = asyncio.Event()
        """Set when others can see what it computes, or that it computes nothing."""
        self.pace = Pace()
        self._settings = settings
        self._layout = layout
        self._catalog = catalog
        self._datasets = datasets
        self._planner = planner
        self._on_open = on_open
        self._on_stored = on_stored
        self._scheduler = Scheduler(
            executor, priority=job.priority, user=job.key_id or "", shares=shares
        )
        self._stop = threading.Event()
        self._leave = threading.Event()
        self._results: list[BlockResult] = []
        self._progress: Progress | None = None
        self._written: Progress | None = None
        self._told: frozenset[str] = frozenset()
        self._computed = 0
        self._came_at = {job.id: -_computed_before(job)}
        """How many blocks it had computed when each job came, less those of earlier runs of it."""
        self._reason: str | None = None
        self._ending = INTERRUPTED
        self._patience = Patience(self._stop.is_set)
        self._computation = Computation(planner, self._scheduler, others, self._stop, self._leave)

    @property
    def waiting_reason(self) -> str | None:
        """Why nothing is computed or written now, known here before the catalog takes it."""
        known = None if self._progress is None else self._progress.waiting_reason
        return known or self._computation.reason or self._patience.trouble

    @property
    def stored(self) -> BlockMap | None:
        """Blocks that are stored for all its matrices; None until they were listed."""
        return self._scheduler.stored

    @property
    def is_stopping(self) -> bool:
        """Whether it only waits for what workers have begun."""
        return self._stop.is_set()

    def stop(self, *, leave: bool = False) -> None:
        """Let the computation end; what is stored stays.

        Parameters
        ----------
        leave : bool
            Whether to leave what workers are computing at the moment, or to wait for it.
        """
        self.is_open = False
        if leave:
            self._leave.set()
        self._stop.set()
        self._scheduler.wake()

    def prefer(self, blocks: Collection[BlockIndex]) -> None:
        """Move blocks to the front: somebody waits for them.

        Parameters
        ----------
        blocks : collection of (int, int)
            Canonical blocks.
        """
        self._computation.prefer(blocks)

    async def attach(self, job: JobRecord) -> None:
        """Let a job share the computation from now on.

        Parameters
        ----------
        job : JobRecord
            As the claim returned it, planning; it asks for no other Gram matrices. The run must
            be open.
        """
        self._came_at[job.id] = self._computed - _computed_before(job)
        self.jobs[job.id] = job
        self._favour()
        _log.info("job attached", job=job.id, to=self.job.id)
        with contextlib.suppress(IllegalTransitionError):  # cancelled in the same moment
            await self._catalog.transition(job.id, "running", epoch=job.epoch)

    async def recheck(self, jobs: Collection[JobRecord], records: Mapping[str, JobRecord]) -> None:
        """Let jobs go that were cancelled, paused or taken over; without any, stop.

        Parameters
        ----------
        jobs : collection of JobRecord
            Jobs that this run had before it was asked for the records.
        records : mapping
            Jobs as they are now, by id; those that are missing are not held here.
        """
        gone = [
            job for job in jobs if job.id in self.jobs and not _is_held(job, records.get(job.id))
        ]
        if not gone:
            return
        left = [job for job in self.jobs.values() if job not in gone]
        if not left:
            self.stop()  # the last jobs take the counts of the last blocks with them
            return
        for job in gone:
            self.jobs.pop(job.id, None)
            await self._let_go(job)
        self._favour()
        if {gram for job in left for gram in job.grams.values()} != self.grams:
            self._ending = _NARROWED
            self.stop()

    def _favour(self) -> None:
        """Run with the highest priority of its jobs, for the user of that one."""
        first = max(self.jobs.values(), key=lambda job: job.priority)
        self._scheduler.favour(first.key_id or "", first.priority)

    async def run(self) -> None:
        """Plan and compute, and leave every job in the state where it belongs.

        Raises
        ------
        GramserveError
            When it could not be computed at all; the jobs are still held then.
        """
        job, catalog = self.job, self._catalog
        try:
            await catalog.explain_wait(job.id, _STARTING, epoch=job.epoch)
            planned = await self._planner.plan_job(job)
            await self._planner.record(planned)
            self.is_recorded.set()
            plan = planned.plan
            work = await asyncio.to_thread(
                open_work,
                plan,
                root=self._layout.root,
                dataset=job.dataset,
                other=job.other,
                grams={name: self._layout.gram(gram) for name, gram in planned.grams.items()},
                memory_bytes=self._settings.memory_per_task_bytes,
                threads=self._settings.engine_threads,
            )
            await catalog.transition(job.id, "running", epoch=job.epoch, engine=plan.engine)
        except IllegalTransitionError:
            await self._let_all_go()
            return
        provenance = Provenance(work, job.grams, self._datasets)
        loop = asyncio.get_running_loop()

        def observe(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._take, progress)
            while len(self._results) > _MOST_UNWRITTEN and not self._stop.is_set():
                time.sleep(_FLUSH_S)

        self.is_open = not self._stop.is_set()
        self._on_open()
        try:
            async with self._reporting(PaceMeter(plan.grid.entry_count), provenance):
                await drop_damaged(work, job.grams, catalog, self._stop.is_set)
                outcome = await self._computation.run(planned, work, observe)
        finally:
            self.is_open = False
        await self._finish(outcome, provenance, work)

    def _take(self, progress: Progress) -> None:
        self._results += progress.results
        self._computed += sum(result.failure is None for result in progress.results)
        self._progress = progress
        if progress.results:
            self._on_stored()

    @contextlib.asynccontextmanager
    async def _reporting(self, meter: PaceMeter, provenance: Provenance):  # type: ignore[no-untyped-def]
        reporter = asyncio.create_task(self._report_always(meter, provenance))
        try:
            yield
        finally:
            reporter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reporter
        self.is_open = False  # who came until now is told how it ended
        await self._patience.insist(lambda: self._write(meter, provenance))

    async def _report_always(self, meter: PaceMeter, provenance: Provenance) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                await self._write(meter, provenance)
                self._patience.trouble = None
            except (CatalogError, OSError) as error:
                # Blocks go on being stored; what could not be written now is written later.
                self._patience.trouble = str(error)
                _log.warning("progress not written", job=self.job.id, error=str(error))

    async def _write(self, meter: PaceMeter, provenance: Provenance) -> None:
        progress, results, computed = self._progress, self._results, self._computed
        told = frozenset(self.jobs)
        if progress is None:
            return
        reason = progress.waiting_reason or self._computation.reason
        if progress is self._written and told == self._told and reason == self._reason:
            return
        self._results = []
        try:
            records = await asyncio.to_thread(provenance.of_results, results)
            await self._catalog.record_blocks(records)
            self.pace = meter.observe(progress, time.monotonic())
            await self._tell(progress.done, computed, progress.failed, progress.total)
        except BaseException:
            self._results = results + self._results
            raise
        are_new, self._written, self._told = told != self._told, progress, told
        if are_new or reason != self._reason:
            self._reason = reason
            for job in tuple(self.jobs.values()):
                await self._catalog.explain_wait(job.id, self._reason, epoch=job.epoch)

    async def _tell(self, done: int, computed: int, failed: int, total: int) -> None:
        """Write how far it is for every job; what was not computed for it, it reused."""
        reports = [
            JobProgress(
                job=job.id,
                epoch=job.epoch,
                done=done,
                reused=max(0, done - (computed - self._came_at[job.id])),
                failed=failed,
                total=total,
            )
            for job in self.jobs.values()
        ]
        written = await self._catalog.record_progress_of(reports)
        # Somebody else has the others: this server counted as dead.
        refused = {report.job for report in reports} - written
        await self.recheck([job for job in self.jobs.values() if job.id in refused], {})

    async def _finish(self, outcome: RunOutcome, provenance: Provenance, work: GramWork) -> None:
        if outcome.failed:
            for some in batched(outcome.failed.items(), _FAILURES_AT_ONCE):
                await self._catalog.record_blocks(provenance.of_failures(dict(some)))
            await self._tell(outcome.done, self._computed, outcome.failed_count, outcome.total)
            await self.fail(*outcome.first_failure())
        elif outcome.is_complete and not await asyncio.to_thread(work.is_stored):
            await self.requeue(_LOST_AGAIN)
        elif outcome.is_complete:
            for job in tuple(self.jobs.values()):
                await self._move(job, "succeeded")
        else:
            await self._let_all_go()

    async def fail(self, code: str, message: str) -> None:
        """End its jobs with an error.

        Parameters
        ----------
        code, message : str
            Of the error.
        """
        for job in tuple(self.jobs.values()):
            await self._move(job, "failed", error={"code": code, "message": message})

    async def requeue(self, reason: str) -> None:
        """Put its jobs back into the queue.

        Parameters
        ----------
        reason : str
            Why, for people.
        """
        for job in tuple(self.jobs.values()):
            await self._move(job, "queued", waiting_reason=reason)

    async def _move(self, job: JobRecord, to_state: str, **more: object) -> None:
        def write() -> Awaitable[object]:
            return self._catalog.transition(job.id, to_state, epoch=job.epoch, **more)  # type: ignore[arg-type]

        try:
            await self._patience.insist(write)
        except IllegalTransitionError:
            await self._let_go(job)

    async def _let_all_go(self) -> None:
        for job in tuple(self.jobs.values()):
            await self._let_go(job)

    async def _let_go(self, job: JobRecord) -> None:
        """Leave a job in the state that somebody asked for while it ran."""
        now = await self._catalog.job(job.id)
        if now.epoch != job.epoch:
            return
        if now.state == "cancelling":
            await self._catalog.transition(job.id, "cancelled", epoch=job.epoch)
        elif now.state in {"planning", "running"}:
            await self._catalog.transition(
                job.id, "queued", epoch=job.epoch, waiting_reason=self._ending
            )

    async def abandon(self) -> None:
        """Put its jobs back although its thread may still run: the server is stopping."""
        with contextlib.suppress(GramserveError):
            await self._let_all_go()


def _computed_before(job: JobRecord) -> int:
    """Return how many blocks earlier runs of a job computed."""
    return max(0, job.blocks_done - job.blocks_reused) if job.epoch > 1 else 0


def _is_held(job: JobRecord, now: JobRecord | None) -> bool:
    return now is not None and now.epoch == job.epoch and now.state in {"planning", "running"}
