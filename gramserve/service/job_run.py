"""One job while it is computed here: from its claim to its end."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from gramserve.blocks import BlockResult, Executor, Progress, RunOutcome, Scheduler, open_work
from gramserve.catalog import Catalog, JobRecord
from gramserve.config import Settings
from gramserve.errors import CatalogError, GramserveError, IllegalTransitionError
from gramserve.service.background import run_in_daemon
from gramserve.service.pace import Pace, PaceMeter
from gramserve.service.planner import Planner
from gramserve.service.provenance import Provenance
from gramserve.store import DatasetStore, StateLayout

LEASE_S = 60.0
"""Seconds without a sign after which a job counts as left alone."""

_FLUSH_S = 0.25
"""Results are written to the catalog together, this often."""

_INTERRUPTED = "its server stopped; it goes on from the blocks that are stored"
_STARTING = "it is being planned, and workers start"

_log = structlog.get_logger(__name__)


class JobRun:
    """Computes one claimed job and writes how far it is.

    Parameters
    ----------
    job : JobRecord
        As the claim returned it, planning.
    settings, layout, catalog, datasets, executor, planner
        Parts of the server.
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
        on_stored: Callable[[], None],
    ) -> None:
        self.job = job
        self.pace = Pace()
        self._settings = settings
        self._layout = layout
        self._catalog = catalog
        self._datasets = datasets
        self._executor = executor
        self._planner = planner
        self._on_stored = on_stored
        self._stop = threading.Event()
        self._results: list[BlockResult] = []
        self._progress: Progress | None = None
        self._written: Progress | None = None
        self._reason: str | None = None

    def stop(self) -> None:
        """Let the computation end within a moment; what is stored stays."""
        self._stop.set()

    async def recheck(self) -> None:
        """Stop if the job was cancelled, paused or taken over since it was claimed."""
        job = await self._catalog.job(self.job.id)
        if job.epoch != self.job.epoch or job.state not in {"planning", "running"}:
            self.stop()

    async def run(self) -> None:
        """Plan and compute the job, and leave it in the state where it belongs.

        Raises
        ------
        GramserveError
            When it could not be computed at all; the job is still held then.
        """
        job, catalog = self.job, self._catalog
        try:
            await catalog.explain_wait(job.id, _STARTING, epoch=job.epoch)
            planned = await self._planner.plan_job(job)
            await self._planner.record(planned)
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
            provenance = Provenance(work, job.grams, self._datasets)
            scheduler = Scheduler(self._executor, priority=job.priority)
            loop = asyncio.get_running_loop()

            def observe(progress: Progress) -> None:
                loop.call_soon_threadsafe(self._take, progress)

            async with self._reporting(PaceMeter(plan.grid.entry_count), provenance):
                await self._planner.adopt(planned, self._stop.is_set)
                outcome = await run_in_daemon(
                    lambda: scheduler.run(work, observe, self._stop.is_set), f"job-{job.id}"
                )
            await self._finish(outcome, provenance)
        except IllegalTransitionError:
            await self._let_go()

    def _take(self, progress: Progress) -> None:
        self._results += progress.results
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
        await self._write(meter, provenance)

    async def _report_always(self, meter: PaceMeter, provenance: Provenance) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                await self._write(meter, provenance)
                if time.monotonic() - renewed > LEASE_S / 4:
                    renewed = time.monotonic()
                    await self._renew()
            except (CatalogError, OSError) as error:
                # Blocks go on being stored; what could not be written now is written later.
                _log.warning("progress not written", job=self.job.id, error=str(error))

    async def _renew(self) -> None:
        held = await self._catalog.renew_lease(self.job.id, self.job.epoch, lease_s=LEASE_S)
        if not held:
            self.stop()
        else:
            await self.recheck()

    async def _write(self, meter: PaceMeter, provenance: Provenance) -> None:
        progress, results = self._progress, self._results
        if progress is None or progress is self._written:
            return
        job = self.job
        self._results = []
        try:
            records = await asyncio.to_thread(provenance.of_results, results)
            await self._catalog.record_blocks(records)
            self.pace = meter.observe(progress, time.monotonic())
            await self._catalog.record_progress(
                job.id,
                job.epoch,
                done=progress.done,
                reused=self._reused(progress.reused),
                failed=progress.failed,
                total=progress.total,
            )
        except BaseException:
            self._results = results + self._results
            raise
        self._written = progress
        if progress.waiting_reason != self._reason:
            self._reason = progress.waiting_reason
            await self._catalog.explain_wait(job.id, self._reason, epoch=job.epoch)

    def _reused(self, stored_before: int) -> int:
        """Return what this job found stored: on a later run, much of that is its own work."""
        return stored_before if self.job.epoch == 1 else self.job.blocks_reused

    async def _finish(self, outcome: RunOutcome, provenance: Provenance) -> None:
        job = self.job
        if outcome.failed:
            await self._catalog.record_blocks(provenance.of_failures(outcome.failed))
            await self._catalog.record_progress(
                job.id,
                job.epoch,
                done=outcome.done,
                reused=self._reused(outcome.reused),
                failed=len(outcome.failed),
                total=outcome.total,
            )
            await self.fail(*_first_failure(outcome))
        elif outcome.is_complete:
            await self._catalog.transition(job.id, "succeeded", epoch=job.epoch)
        else:
            await self._let_go()

    async def fail(self, code: str, message: str) -> None:
        """End the job with an error.

        Parameters
        ----------
        code, message : str
            Of the error.
        """
        error = {"code": code, "message": message}
        await self._catalog.transition(self.job.id, "failed", epoch=self.job.epoch, error=error)

    async def requeue(self, reason: str) -> None:
        """Put the job back into the queue.

        Parameters
        ----------
        reason : str
            Why, for people.
        """
        await self._catalog.transition(
            self.job.id, "queued", epoch=self.job.epoch, waiting_reason=reason
        )

    async def _let_go(self) -> None:
        """Leave the job in the state that somebody asked for while it ran."""
        job = await self._catalog.job(self.job.id)
        if job.epoch != self.job.epoch:
            return
        if job.state == "cancelling":
            await self._catalog.transition(job.id, "cancelled", epoch=job.epoch)
        elif job.state in {"planning", "running"}:
            await self.requeue(_INTERRUPTED)

    async def abandon(self) -> None:
        """Put the job back although its thread may still run: the server is stopping."""
        with contextlib.suppress(GramserveError):
            await self._let_go()


def _first_failure(outcome: RunOutcome) -> tuple[str, str]:
    block, failure = next(iter(outcome.failed.items()))
    message = (
        f"{len(outcome.failed)} of {outcome.total} blocks failed, {outcome.done} are stored; "
        f"block ({block[0]}, {block[1]}): {failure.message}"
    )
    return failure.code, message
