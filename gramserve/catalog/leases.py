"""Who works on a job: claiming it, keeping it, reporting on it.

A dispatcher that claims a job gets an epoch and a lease. The epoch is the proof: everything the
dispatcher writes about the job carries it, and is refused once somebody else has claimed the job.
The lease only says when others may conclude that the dispatcher is gone.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select, update

from gramserve.catalog import tables
from gramserve.catalog.events import append_event
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.jobs import job_records, lock_job
from gramserve.catalog.lifecycle import move_job
from gramserve.catalog.records import JobRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import HELD_STATES
from gramserve.spec.status import TERMINAL_STATES

_jobs = tables.jobs
_links = tables.job_grams


class Leases(Facet):
    """The queue of a catalog, and the claims on it."""

    @uninterrupted
    async def claim_next(
        self,
        *,
        lease_s: float,
        exclude_grams: Collection[str] = (),
        now: datetime | None = None,
    ) -> JobRecord | None:
        """Take the next job of the queue: the highest priority, then the oldest.

        Parameters
        ----------
        lease_s : float
            How long the caller counts as alive without a sign, in seconds.
        exclude_grams : collection of str
            Gram matrices that are being worked on; jobs that ask for one of them stay queued.
        now : datetime, optional
            The present moment.

        Returns
        -------
        JobRecord or None
            The job, ``planning`` now, with the caller's epoch; None when there is none.

        Notes
        -----
        Any number of processes may claim at once; each job goes to one of them.
        """
        at = now or utc_now()
        order = (_jobs.c.priority.desc(), _jobs.c.created, _jobs.c.id)
        query = select(_jobs).where(_jobs.c.state == "queued").order_by(*order).limit(1)
        if exclude_grams:
            busy = select(_links.c.job).where(_links.c.gram.in_(exclude_grams))
            query = query.where(_jobs.c.id.not_in(busy))
        async with self._database.read() as connection:
            # An empty queue is looked at far more often than a full one; looking needs no lock.
            if (await connection.execute(query)).first() is None:
                return None
        async with self._database.write() as connection:
            locked = query.with_for_update(skip_locked=True)
            rows = (await connection.execute(locked)).all()
            if not rows:
                return None
            (job,) = await job_records(connection, rows)
            expires = at + timedelta(seconds=lease_s)
            job = await move_job(connection, job, "planning", at=at, lease_expires=expires)
        self._bell.ring(job.id)
        return job

    @uninterrupted
    async def renew_lease(
        self, job_id: str, epoch: int, *, lease_s: float, now: datetime | None = None
    ) -> bool:
        """Say that the holder of a job is alive.

        Parameters
        ----------
        job_id : str
            Id.
        epoch : int
            The one it was claimed with.
        lease_s : float
            How long the holder counts as alive from now on, in seconds.
        now : datetime, optional
            The present moment.

        Returns
        -------
        bool
            False when the caller does not hold the job any more and must let it go.
        """
        expires = (now or utc_now()) + timedelta(seconds=lease_s)
        statement = (
            update(_jobs)
            .where(_jobs.c.id == job_id, _jobs.c.epoch == epoch, _jobs.c.state.in_(HELD_STATES))
            .values(lease_expires=expires)
        )
        async with self._database.write() as connection:
            return (await connection.execute(statement)).rowcount == 1

    @uninterrupted
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
        async with self._database.write() as connection:
            job = await lock_job(connection, job_id)
            if job.epoch != epoch or job.state in TERMINAL_STATES:
                return False
            counts = {"done": done, "reused": reused, "failed": failed, "total": total}
            await connection.execute(
                update(_jobs)
                .where(_jobs.c.id == job_id)
                .values({f"blocks_{name}": count for name, count in counts.items()})
            )
            await append_event(connection, job_id, "progress", counts, utc_now())
        self._bell.ring(job_id)
        return True
