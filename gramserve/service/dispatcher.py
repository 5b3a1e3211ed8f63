"""The dispatcher: takes jobs from the queue, runs them, and says why the others wait."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from gramserve.blocks import Executor
from gramserve.catalog import Catalog, JobRecord
from gramserve.config import Settings
from gramserve.errors import (
    CatalogError,
    GramserveError,
    PlanError,
    SpecError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.service.job_run import LEASE_S, JobRun
from gramserve.service.pace import Pace
from gramserve.service.planner import Planner
from gramserve.store import DatasetStore, StateLayout

_LOOK_S = 5.0
"""Seconds between looks at the queue when nobody rings."""

_FIRST_REST_S = 2.0
_LONGEST_REST_S = 60.0
_MAX_SURPRISES = 3
_STOP_S = 5.0
_HOPELESS = (SpecError, PlanError, StoreNotFoundError, StoreMismatchError)

_log = structlog.get_logger(__name__)


@dataclass
class _Rest:
    """A job that is tried again later."""

    grams: frozenset[str]
    until: float
    count: int


class Dispatcher:
    """Owns the jobs of a server; use it as an async context manager.

    Parameters
    ----------
    settings, layout, catalog, datasets, executor
        Parts of the server.
    """

    def __init__(
        self,
        settings: Settings,
        layout: StateLayout,
        catalog: Catalog,
        datasets: DatasetStore,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._catalog = catalog
        self._datasets = datasets
        self._executor = executor
        self.planner = Planner(settings, layout, catalog, executor)
        self._runs: dict[str, JobRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests: dict[str, _Rest] = {}
        self._rung = asyncio.Event()
        self._stored = asyncio.Event()
        self._is_stopping = False
        self._swept = time.monotonic()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # With a database of its own, no other server can hold any of these jobs.
        is_alone = self._settings.database_url is None
        for job in await self._catalog.requeue_interrupted(expired_only=not is_alone):
            _log.info("job interrupted earlier", job=job.id, state=job.state)
        self._loop = asyncio.create_task(self._dispatch(), name="dispatcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_stopping = True
        self.wake()
        for run in self._runs.values():
            run.stop()
        if self._loop is not None:
            await self._loop
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        for task in self._tasks:
            task.cancel()
        for run in self._runs.values():
            await run.abandon()

    @property
    def is_alive(self) -> bool:
        """Whether jobs are being taken."""
        return self._loop is not None and not self._loop.done()

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return len(self._runs)

    def wake(self) -> None:
        """Look at the queue now: something came in."""
        self._rung.set()

    async def recheck(self, job_id: str) -> None:
        """Notice at once that a job was cancelled, paused or resumed.

        Parameters
        ----------
        job_id : str
            Which one.
        """
        run = self._runs.get(job_id)
        if run is not None:
            await run.recheck()
        self.wake()

    def pace(self, job_id: str) -> Pace | None:
        """Return how fast a job is, None when it does not run here.

        Parameters
        ----------
        job_id : str
            Which one.
        """
        run = self._runs.get(job_id)
        return None if run is None else run.pace

    def waiting_reason(self, job_id: str) -> str | None:
        """Return why a job that runs here waits; None when it does not, or runs elsewhere.

        Parameters
        ----------
        job_id : str
            Which one.
        """
        run = self._runs.get(job_id)
        return None if run is None else run.waiting_reason

    async def wait_for_stored(self, timeout_s: float) -> None:
        """Return when blocks of any job were stored, or after a time.

        Parameters
        ----------
        timeout_s : float
            Seconds.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._stored.wait()

    def _announce_stored(self) -> None:
        self._stored.set()
        self._stored = asyncio.Event()

    async def _dispatch(self) -> None:
        while not self._is_stopping:
            self._rung.clear()
            try:
                await self._requeue_lost()
                await self._claim()
                await self._explain()
            except CatalogError as error:
                _log.warning("the catalog does not answer", error=str(error))
            except Exception:
                # A dispatcher that ends leaves every later job waiting without a word.
                _log.exception("dispatching failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._rung.wait()

    def _pause_s(self) -> float:
        now = time.monotonic()
        ends = [rest.until - now for rest in self._rests.values() if rest.until > now]
        return min([_LOOK_S, *ends])

    async def _requeue_lost(self) -> None:
        """Take over jobs whose holder has gone without a word."""
        if time.monotonic() - self._swept < LEASE_S / 2:
            return
        self._swept = time.monotonic()
        await self._catalog.requeue_interrupted(expired_only=True)

    async def _claim(self) -> None:
        while len(self._runs) < self._settings.concurrent_jobs and not self._is_stopping:
            job = await self._catalog.claim_next(lease_s=LEASE_S, exclude_grams=self._busy_grams())
            if job is None:
                return
            _log.info("job claimed", job=job.id, epoch=job.epoch)
            run = JobRun(
                job,
                settings=self._settings,
                layout=self._layout,
                catalog=self._catalog,
                datasets=self._datasets,
                executor=self._executor,
                planner=self.planner,
                on_stored=self._announce_stored,
            )
            self._runs[job.id] = run
            task = asyncio.create_task(self._execute(run), name=f"job {job.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _busy_grams(self) -> set[str]:
        """Return what no further job may be claimed for: running, or resting after a failure."""
        now = time.monotonic()
        resting = [rest.grams for rest in self._rests.values() if rest.until > now]
        running = [run.job.grams.values() for run in self._runs.values()]
        return {gram for grams in (*resting, *running) for gram in grams}

    async def _execute(self, run: JobRun) -> None:
        job = run.job
        try:
            await run.run()
        except Exception as error:
            await self._recover(run, error)
        else:
            self._rests.pop(job.id, None)
        finally:
            self._runs.pop(job.id, None)
            self._announce_stored()
            self.wake()

    async def _recover(self, run: JobRun, error: Exception) -> None:
        """Fail a job that can never run; let any other one rest and try it again."""
        job = run.job
        rest = self._rests.get(job.id)
        count = 1 if rest is None else rest.count + 1
        is_surprise = not isinstance(error, GramserveError)
        _log.warning("job interrupted", job=job.id, error=str(error), exc_info=is_surprise)
        with contextlib.suppress(GramserveError):  # its lease ends, and the queue has it again
            if isinstance(error, _HOPELESS):
                await run.fail(error.code, str(error))
            elif is_surprise and count >= _MAX_SURPRISES:
                await run.fail("internal", f"{type(error).__name__}: {error}")
            else:
                pause = min(_FIRST_REST_S * 2 ** (count - 1), _LONGEST_REST_S)
                until = time.monotonic() + pause
                self._rests[job.id] = _Rest(frozenset(job.grams.values()), until, count)
                await run.requeue(f"{error}; tried again every {pause:.0f} s")

    async def _explain(self) -> None:
        """Write for every waiting job why it waits."""
        queued = await self._catalog.jobs(states=["queued"], limit=1000)
        for job in queued:
            reason = self._reason(job)
            if reason is not None and reason != job.waiting_reason:
                await self._catalog.explain_wait(job.id, reason, epoch=job.epoch)

    def _reason(self, job: JobRecord) -> str | None:
        if job.id in self._rests:
            return None  # it was queued with its own reason
        wanted = set(job.grams.values())
        for run in self._runs.values():
            if wanted & set(run.job.grams.values()):
                return (
                    f"job {run.job.id} computes the same Gram matrix; this one takes over what "
                    "is stored when that one has ended"
                )
        if len(self._runs) >= self._settings.concurrent_jobs:
            return (
                f"{len(self._runs)} jobs run and no more may at once "
                "(GRAMSERVE_CONCURRENT_JOBS); it starts when one has ended"
            )
        return None
