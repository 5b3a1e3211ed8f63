"""Who works on a job: claiming it, keeping it, reporting on it.

A dispatcher that claims a job gets an epoch. The epoch is the proof: everything the dispatcher
writes about the job carries it, and is refused once somebody else has claimed the job. With the
job it gets its Gram matrices, each of which one dispatcher at a time computes.
"""

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.events import append_event
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.jobs import job_records, lock_job
from gramserve.catalog.lifecycle import move_job
from gramserve.catalog.records import JobProgress, JobRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import HELD_STATES
from gramserve.errors import ConflictError
from gramserve.spec.status import TERMINAL_STATES

_jobs = tables.jobs
_links = tables.job_grams
_leases = tables.gram_leases
_dispatchers = tables.dispatchers
_RACES = 16


class _TakenError(Exception):
    """Another dispatcher took a Gram matrix in the same moment; the transaction is undone."""


class Leases(Facet):
    """The queue of a catalog, and the claims on it."""

    @uninterrupted
    async def claim_next(
        self,
        *,
        dispatcher: str,
        exclude_grams: Collection[str] = (),
        within_grams: Collection[str] | None = None,
        first_grams: Collection[str] = (),
        idle_users: bool = False,
        now: datetime | None = None,
    ) -> JobRecord | None:
        """Take the next job of the queue, and with it its Gram matrices.

        The highest priority goes first; of one priority, a job of the user who has the fewest
        jobs with dispatchers; then the oldest.

        Parameters
        ----------
        dispatcher : str
            Who asks, from :meth:`~gramserve.catalog.Catalog.open_dispatcher`.
        exclude_grams : collection of str
            Gram matrices for which the caller takes no further job; jobs that ask for one of
            them stay queued, as do those that ask for one that another dispatcher holds.
        within_grams : collection of str, optional
            Only jobs that ask for nothing but these.
        first_grams : collection of str
            Somebody waits for rows of these: their jobs go before all others.
        idle_users : bool
            Only jobs of users none of whose jobs is with a dispatcher.
        now : datetime, optional
            The present moment.

        Returns
        -------
        JobRecord or None
            The job, ``planning`` now, with the caller's epoch; None when there is none.

        Raises
        ------
        ConflictError
            When the dispatcher is not known any more: it counted as dead.

        Notes
        -----
        Any number of processes may claim at once; each job goes to one of them, and so does
        each Gram matrix.
        """
        query = _queued(dispatcher, exclude_grams, within_grams, idle_users=idle_users)
        query = query.order_by(*_order(first_grams)).limit(1)
        async with self._database.read() as connection:
            # An empty queue is looked at far more often than a full one; looking needs no lock.
            if (await connection.execute(query)).first() is None:
                return None
        for _ in range(_RACES):
            try:
                job = await self._claim(query, dispatcher, now or utc_now())
            except _TakenError:
                await asyncio.sleep(0)
                continue
            if job is not None:
                self._bell.ring(job.id)
            return job
        return None

    async def _claim(self, query: Select[Any], dispatcher: str, at: datetime) -> JobRecord | None:
        async with self._database.write() as connection:
            alive = select(_dispatchers.c.id).where(_dispatchers.c.id == dispatcher)
            if await connection.scalar(alive.with_for_update(read=True)) is None:
                raise ConflictError(
                    f"dispatcher {dispatcher} counted as dead and holds nothing any more; open "
                    "a new one",
                    dispatcher=dispatcher,
                )
            locked = query.with_for_update(skip_locked=True, of=_jobs)
            rows = (await connection.execute(locked)).all()
            if not rows:
                return None
            (job,) = await job_records(connection, rows)
            await self._lease(connection, dispatcher, set(job.grams.values()))
            return await move_job(connection, job, "planning", at=at, dispatcher=dispatcher)

    async def _lease(
        self, connection: AsyncConnection, dispatcher: str, grams: Collection[str]
    ) -> None:
        """Take Gram matrices, all of them or, by an error that undoes the claim, none."""
        rows = [{"gram": gram, "dispatcher": dispatcher} for gram in sorted(grams)]
        statement = self._database.insert(_leases).on_conflict_do_nothing(index_elements=["gram"])
        for row in rows:  # waits for whoever inserts the same one at the moment
            await connection.execute(statement.values(row))
        taken = select(func.count()).where(
            _leases.c.gram.in_(grams), _leases.c.dispatcher != dispatcher
        )
        if await connection.scalar(taken):
            raise _TakenError

    @uninterrupted
    async def release_grams(self, dispatcher: str, grams: Collection[str]) -> None:
        """Give Gram matrices back: nothing of them is computed here any more.

        Parameters
        ----------
        dispatcher : str
            Who held them.
        grams : collection of str
            Those that it does not hold are left alone.
        """
        statement = delete(_leases).where(
            _leases.c.gram.in_(grams), _leases.c.dispatcher == dispatcher
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    @uninterrupted
    async def gram_holders(self, grams: Collection[str]) -> dict[str, str]:
        """Return the dispatcher that computes each of some Gram matrices, where one does."""
        query = select(_leases).where(_leases.c.gram.in_(grams))
        async with self._database.read() as connection:
            return {row.gram: row.dispatcher for row in await connection.execute(query)}

    @uninterrupted
    async def held_jobs(self, dispatcher: str) -> list[JobRecord]:
        """Return the jobs that a dispatcher holds, as they are now."""
        query = select(_jobs).where(
            _jobs.c.dispatcher == dispatcher, _jobs.c.state.in_(HELD_STATES)
        )
        async with self._database.read() as connection:
            return await job_records(connection, (await connection.execute(query)).all())

    async def record_progress(
        self, job_id: str, epoch: int, *, done: int, reused: int, failed: int, total: int
    ) -> bool:
        """Write how far a job is, and the event that tells its streams.

        Parameters
        ----------
        job_id : str
            Id.
        epoch : int
            The one the job was claimed with.
        done, reused, failed, total : int
            Counts of blocks: stored, of these found instead of computed, set aside, all.

        Returns
        -------
        bool
            False, and nothing is written, when the epoch is over or the job is finished:
            somebody else counts now. A paused job still takes the counts of its last blocks.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        """
        report = JobProgress(
            job=job_id, epoch=epoch, done=done, reused=reused, failed=failed, total=total
        )
        return job_id in await self.record_progress_of([report])

    @uninterrupted
    async def record_progress_of(self, reports: Iterable[JobProgress]) -> set[str]:
        """Write how far several jobs are, in one transaction.

        Parameters
        ----------
        reports : iterable of JobProgress
            One for each job.

        Returns
        -------
        set of str
            The jobs whose epoch was right, see :meth:`record_progress`.

        Raises
        ------
        JobNotFoundError
            When one of them does not exist; nothing is written then.
        """
        written: set[str] = set()
        at = utc_now()
        async with self._database.write() as connection:
            for report in sorted(reports, key=lambda report: report.job):  # one order: no deadlock
                job = await lock_job(connection, report.job)
                if job.epoch != report.epoch or job.state in TERMINAL_STATES:
                    continue
                counts = {name: getattr(report, name) for name in _COUNTS}
                await connection.execute(
                    update(_jobs)
                    .where(_jobs.c.id == report.job)
                    .values({f"blocks_{name}": count for name, count in counts.items()})
                )
                await append_event(connection, report.job, "progress", counts, at)
                written.add(report.job)
        for job_id in written:
            self._bell.ring(job_id)
        return written


_COUNTS = ("done", "reused", "failed", "total")


def _queued(
    dispatcher: str,
    exclude: Collection[str],
    within: Collection[str] | None,
    *,
    idle_users: bool,
) -> Select[Any]:
    """Return the query of the jobs that a dispatcher may claim."""
    held_elsewhere = (
        select(_links.c.job)
        .join(_leases, _leases.c.gram == _links.c.gram)
        .where(_leases.c.dispatcher != dispatcher)
    )
    query = select(_jobs).where(_jobs.c.state == "queued", _jobs.c.id.not_in(held_elsewhere))
    if exclude:
        query = query.where(_jobs.c.id.not_in(_asking_for(_links.c.gram.in_(exclude))))
    if within is not None:
        query = query.where(_jobs.c.id.not_in(_asking_for(_links.c.gram.not_in(within))))
    if idle_users:
        query = query.where(_held_by_user() == 0)
    return query


def _asking_for(condition: ColumnElement[bool]) -> Select[Any]:
    return select(_links.c.job).where(condition)


def _held_by_user() -> ColumnElement[int]:
    """Return how many jobs of the same user are with a dispatcher."""
    other = _jobs.alias("held")
    return (
        select(func.count())
        .select_from(other)
        .where(
            other.c.state.in_(HELD_STATES),
            func.coalesce(other.c.key_id, "") == func.coalesce(_jobs.c.key_id, ""),
        )
        .correlate(_jobs)
        .scalar_subquery()
    )


def _order(first: Collection[str]) -> list[Any]:
    order: list[Any] = []
    if first:
        waited_for = _jobs.c.id.in_(_asking_for(_links.c.gram.in_(first)))
        order.append(case((waited_for, 0), else_=1))
    return [*order, _jobs.c.priority.desc(), _held_by_user(), _jobs.c.created, _jobs.c.id]
