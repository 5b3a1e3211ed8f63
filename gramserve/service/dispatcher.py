"""The dispatcher: takes jobs from the queue, runs them, and says why the others wait."""

import asyncio
import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from gramserve.blocks import Executor, Shares
from gramserve.catalog import Catalog
from gramserve.config import Settings
from gramserve.errors import (
    CatalogError,
    ConflictError,
    GramserveError,
    IllegalTransitionError,
    PlanError,
    SpecError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.plan import BlockIndex, BlockMap
from gramserve.service.heartbeat import LEASE_S, Heartbeat
from gramserve.service.job_run import JobRun
from gramserve.service.others import Others, begun_before
from gramserve.service.pace import Pace
from gramserve.service.planner import Planner
from gramserve.service.waiting import waiting_reason
from gramserve.store import DatasetStore, StateLayout

_LOOK_S = 2.0
"""Seconds between looks at the queue, and at what other servers wrote, when nobody rings."""

_WAITED_S = 10.0
"""A request for rows counts as waiting for so long; it says so again while it does, in seconds."""

_MOST_PREFERRED = 4096
"""Blocks that one request moves to the front at once; it comes back for the others."""

_FIRST_REST_S = 2.0
_LONGEST_REST_S = 60.0
_MAX_SURPRISES = 3
_MOST_EXPLAINED = 500
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
    home : str, optional
        Names what only one dispatcher at a time can hold: the locked state directory.
    lease_s : float
        Seconds without a sign after which other servers take over.
    """

    def __init__(
        self,
        settings: Settings,
        layout: StateLayout,
        catalog: Catalog,
        datasets: DatasetStore,
        executor: Executor,
        *,
        home: str | None = None,
        lease_s: float = LEASE_S,
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
        self._shares = Shares()
        self._waited_for: dict[str, float] = {}
        self._is_stopping = False
        self._heartbeat = Heartbeat(
            catalog,
            home=home,
            # With a database of its own, no other server can hold any of these jobs.
            alone=settings.database_url is None,
            on_lost=self._leave_all,
            lease_s=lease_s,
        )
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._heartbeat.start()
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
        self._leave_all()
        if self._loop is not None:
            await self._loop
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        for task in self._tasks:
            task.cancel()
        for run in tuple(self._runs.values()):
            await run.abandon()
        await self._heartbeat.stop()

    def _leave_all(self) -> None:
        for run in self._runs.values():
            run.stop(leave=True)

    @property
    def is_alive(self) -> bool:
        """Whether jobs are being taken."""
        return self._loop is not None and not self._loop.done()

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return sum(len(run.jobs) for run in self._runs.values())

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
        run = self._run_of(job_id)
        if run is not None:
            await self._recheck(run)
        self.wake()

    def _run_of(self, job_id: str) -> JobRun | None:
        return next((run for run in self._runs.values() if job_id in run.jobs), None)

    async def _recheck(self, *runs: JobRun) -> None:
        if not runs:
            return
        # Who is attached while the catalog answers is not in its answer.
        known = [(run, tuple(run.jobs.values())) for run in runs]
        records = {job.id: job for job in await self._catalog.held_jobs(self._heartbeat.dispatcher)}
        for run, jobs in known:
            await run.recheck(jobs, records)

    def pace(self, job_id: str) -> Pace | None:
        """Return how fast a job is, None when it does not run here.

        Parameters
        ----------
        job_id : str
            Which one.
        """
        run = self._run_of(job_id)
        return None if run is None else run.pace

    def stored_map(self, gram: str) -> BlockMap | None:
        """Return which blocks of a Gram matrix are stored, without looking at the store.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.

        Returns
        -------
        BlockMap or None
            None when it is not computed here at the moment. Do not change it.
        """
        alone = frozenset([gram])
        return next((run.stored for run in self._runs.values() if run.grams == alone), None)

    def prefer(self, gram: str, blocks: Collection[BlockIndex]) -> None:
        """Compute blocks that somebody waits for before all others.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix. If it is not computed now, its jobs go to the head of the
            queue.
        blocks : collection of (int, int)
            Canonical blocks.
        """
        for run in self._runs.values():
            if gram in run.grams:
                run.prefer(list(blocks)[:_MOST_PREFERRED])
                return
        is_news = gram not in self._waited_for
        self._waited_for[gram] = time.monotonic() + _WAITED_S
        if is_news:
            self.wake()

    def waiting_reason(self, job_id: str) -> str | None:
        """Return why a job that runs here waits; None when it does not, or runs elsewhere.

        Parameters
        ----------
        job_id : str
            Which one.
        """
        run = self._run_of(job_id)
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
            looked = time.monotonic()
            try:
                await self._recheck(*self._runs.values())
                await self._return_strays()
                await self._attach()
                await self._claim()
                await self._explain()
            except ConflictError:
                await self._beat_anew()
            except CatalogError as error:
                _log.warning("the catalog does not answer", error=str(error))
            except Exception:
                # A dispatcher that ends leaves every later job waiting without a word.
                _log.exception("dispatching failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s(looked)):
                    await self._rung.wait()

    def _pause_s(self, looked: float) -> float:
        """Return the seconds until the queue should be looked at again."""
        now = time.monotonic()
        ends = [rest.until - now for rest in self._rests.values() if rest.until > looked]
        return max(0.0, min([_LOOK_S, *ends]))

    async def _beat_anew(self) -> None:
        """Find out at once that this dispatcher counted as dead."""
        with contextlib.suppress(CatalogError):
            await self._heartbeat.beat()

    async def _return_strays(self) -> None:
        """Queue again what this dispatcher holds and does not run.

        The catalog may write a claim and fail to say so, or refuse the last word about a job.
        """
        for job in await self._catalog.held_jobs(self._heartbeat.dispatcher):
            if self._run_of(job.id) is None:
                to_state = "cancelled" if job.state == "cancelling" else "queued"
                with contextlib.suppress(IllegalTransitionError):  # it ended meanwhile
                    await self._catalog.transition(job.id, to_state, epoch=job.epoch)

    async def _attach(self) -> None:
        """Let jobs that ask for what is being computed share it, however many run."""
        for run in tuple(self._runs.values()):
            while run.is_open and not self._is_stopping:
                job = await self._catalog.claim_next(
                    dispatcher=self._heartbeat.dispatcher, within_grams=run.grams
                )
                if job is None:
                    break
                if run.is_open:
                    await run.attach(job)
                else:  # it ended meanwhile
                    await self._catalog.transition(job.id, "queued", epoch=job.epoch)

    async def _claim(self) -> None:
        while not self._is_stopping:
            now = time.monotonic()
            self._waited_for = {g: until for g, until in self._waited_for.items() if until > now}
            job = await self._catalog.claim_next(
                dispatcher=self._heartbeat.dispatcher,
                exclude_grams=self._busy_grams(),
                first_grams=self._waited_for,
                # However many run: nobody waits for the end of all that others asked for.
                idle_users=len(self._runs) >= self._settings.concurrent_jobs,
            )
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
                shares=self._shares,
                others=Others(partial(begun_before, self._runs, job.id), self.wait_for_stored),
                on_open=self.wake,
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
        running = [run.grams for run in self._runs.values()]
        return {gram for grams in (*resting, *running) for gram in grams}

    async def _execute(self, run: JobRun) -> None:
        job = run.job
        try:
            await run.run()
        except Exception as error:
            await self._recover(run, error)
        else:
            for ended in run.jobs:
                self._rests.pop(ended, None)
        finally:
            with contextlib.suppress(CatalogError):
                await self._catalog.release_grams(self._heartbeat.dispatcher, run.grams)
            self._runs.pop(job.id, None)
            run.is_recorded.set()
            self._announce_stored()
            self.wake()

    async def _recover(self, run: JobRun, error: Exception) -> None:
        """Fail a job that can never run; let any other one rest and try it again."""
        job = run.job
        rest = self._rests.get(job.id)
        count = 1 if rest is None else rest.count + 1
        is_surprise = not isinstance(error, GramserveError)
        _log.warning("job interrupted", job=job.id, error=str(error), exc_info=is_surprise)
        with contextlib.suppress(GramserveError):  # a stray, then: it is queued again later
            if isinstance(error, _HOPELESS):
                await run.fail(error.code, str(error))
            elif is_surprise and count >= _MAX_SURPRISES:
                await run.fail("internal", f"{type(error).__name__}: {error}")
            else:
                pause = min(_FIRST_REST_S * 2 ** (count - 1), _LONGEST_REST_S)
                until = time.monotonic() + pause
                self._rests |= dict.fromkeys(run.jobs, _Rest(run.grams, until, count))
                await run.requeue(f"{error}; tried again every {pause:.0f} s")

    async def _explain(self) -> None:
        """Write for every waiting job why it waits."""
        queued = await self._catalog.jobs(states=["queued"], limit=_MOST_EXPLAINED)
        if not queued:
            return
        wanted = {gram for job in queued for gram in job.grams.values()}
        holders = await self._catalog.gram_holders(sorted(wanted)[:_MOST_EXPLAINED])
        own = self._heartbeat.dispatcher
        elsewhere = {gram for gram, holder in holders.items() if holder != own}
        limit = self._settings.concurrent_jobs
        for job in queued:
            if job.id in self._rests:
                continue  # it was queued with its own reason
            reason = waiting_reason(job, self._runs.values(), elsewhere, limit)
            if reason is not None and reason != job.waiting_reason:
                await self._catalog.explain_wait(job.id, reason, epoch=job.epoch)
