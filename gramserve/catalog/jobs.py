"""Jobs: asking, and looking at what was asked."""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.datasets import lock_dataset
from gramserve.catalog.events import append_event
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.grams import lock_gram
from gramserve.catalog.records import JobRecord
from gramserve.catalog.times import utc_now
from gramserve.errors import CatalogError, ConflictError, JobNotFoundError
from gramserve.spec.canonical import digest_of

_jobs = tables.jobs
_links = tables.job_grams
_PRIVATE = frozenset({"idempotency_digest", "request_digest"})


async def job_records(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[JobRecord]:
    """Return the records of rows of the table of jobs, with their Gram matrices."""
    grams: dict[str, dict[str, str]] = {row.id: {} for row in rows}
    links = await connection.execute(
        select(_links).where(_links.c.job.in_(list(grams))).order_by(_links.c.kernel)
    )
    for link in links:
        grams[link.job][link.kernel] = link.gram
    return [
        JobRecord(
            **{name: value for name, value in row._mapping.items() if name not in _PRIVATE},
            grams=grams[row.id],
        )
        for row in rows
    ]


async def lock_job(connection: AsyncConnection, job: str) -> JobRecord:
    """Return a job and keep others from changing it until the transaction ends.

    Raises
    ------
    JobNotFoundError
        When there is none.
    """
    rows = (
        await connection.execute(select(_jobs).where(_jobs.c.id == job).with_for_update())
    ).all()
    if not rows:
        raise _unknown(job)
    (record,) = await job_records(connection, rows)
    return record


def _unknown(job: str) -> JobNotFoundError:
    return JobNotFoundError(f"no job {job}; list the jobs there are", job=job)


class Jobs(Facet):
    """The jobs of a catalog."""

    @uninterrupted
    async def create_job(
        self,
        *,
        spec: Mapping[str, Any],
        grams: Mapping[str, str],
        dataset: str,
        other: str | None = None,
        precision: str,
        block_size: int,
        priority: int = 0,
        engine: str | None = None,
        state: Literal["queued", "succeeded"] = "queued",
        blocks_total: int = 0,
        blocks_done: int = 0,
        blocks_reused: int = 0,
        waiting_reason: str | None = None,
        idempotency_key: str | None = None,
        key_id: str | None = None,
    ) -> tuple[JobRecord, bool]:
        """Write down what is asked.

        Parameters
        ----------
        spec : mapping
            Canonical kernel spec with all kernels asked for.
        grams : mapping of str to str
            Ids of Gram matrices by kernel; recorded before.
        dataset, other : str
            Data sets of the rows and of the columns; recorded before.
        precision : str
            How the numbers are computed.
        block_size : int
            Rows and columns of a block.
        priority : int
            Higher goes first.
        engine : str, optional
            The engine of the plan.
        state : {"queued", "succeeded"}
            ``succeeded`` when nothing is left to compute.
        blocks_total, blocks_done, blocks_reused : int
            Counts of the plan.
        waiting_reason : str, optional
            Why nothing is computed yet.
        idempotency_key : str, optional
            The asker's word for this request: asking again with it makes no second job.
        key_id : str, optional
            The asker; idempotency keys of different askers are different.

        Returns
        -------
        JobRecord
            The new job, or the one that the idempotency key made before.
        bool
            Whether it is new.

        Raises
        ------
        StoreNotFoundError
            When a data set or a Gram matrix is not known.
        ConflictError
            When the idempotency key was used for another request; names its job.
        """
        asked = {
            "spec": dict(spec),
            "dataset": dataset,
            "other": other,
            "precision": precision,
            "block_size": block_size,
            "priority": priority,
        }
        request_digest = digest_of(asked)
        idempotency_digest = _idempotency_digest(key_id, idempotency_key)
        now = utc_now()
        job = secrets.token_hex(8)
        row = {
            **asked,
            "id": job,
            "state": state,
            "engine": engine,
            "epoch": 0,
            "blocks_total": blocks_total,
            "blocks_done": blocks_done,
            "blocks_reused": blocks_reused,
            "blocks_failed": 0,
            "waiting_reason": waiting_reason,
            "idempotency_digest": idempotency_digest,
            "request_digest": request_digest,
            "key_id": key_id,
            "created": now,
            "finished": now if state == "succeeded" else None,
        }
        try:
            async with self._database.write() as connection:
                known = await _by_idempotency(connection, idempotency_digest, request_digest)
                if known is not None:
                    return known, False
                for digest in sorted({dataset, other or dataset}):  # one order: no deadlock
                    await lock_dataset(connection, digest)
                for gram in sorted(grams.values()):
                    await lock_gram(connection, gram)
                await connection.execute(insert(_jobs).values(**row))
                links = [{"job": job, "kernel": name, "gram": id_} for name, id_ in grams.items()]
                await connection.execute(insert(_links), links)
                data = {"from": None, "state": state, "epoch": 0, "waiting_reason": waiting_reason}
                await append_event(connection, job, "state", {**data, "error": None}, now)
                created = await lock_job(connection, job)
        except CatalogError as error:
            # Two servers on one PostgreSQL may both find the key free; the second one's
            # insert fails, and by then the first one's job is there to be found.
            if idempotency_digest is None or not isinstance(error.__cause__, IntegrityError):
                raise
            async with self._database.read() as connection:
                known = await _by_idempotency(connection, idempotency_digest, request_digest)
            if known is None:
                raise
            return known, False
        self._bell.ring(job)
        return created, True

    @uninterrupted
    async def job(self, id: str) -> JobRecord:  # noqa: A002
        """Return one job.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        """
        async with self._database.read() as connection:
            rows = (await connection.execute(select(_jobs).where(_jobs.c.id == id))).all()
            if not rows:
                raise _unknown(id)
            (record,) = await job_records(connection, rows)
        return record

    @uninterrupted
    async def jobs(
        self,
        *,
        states: Collection[str] | None = None,
        gram: str | None = None,
        dataset: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[JobRecord]:
        """Return jobs, the newest first.

        Parameters
        ----------
        states : collection of str, optional
            Only jobs in one of these states.
        gram : str, optional
            Only jobs that ask for this Gram matrix.
        dataset : str, optional
            Only jobs whose rows are of this data set.
        limit, offset : int
            At most how many, and how many to skip.

        Returns
        -------
        list of JobRecord
        """
        query = select(_jobs).order_by(_jobs.c.created.desc(), _jobs.c.id)
        if states is not None:
            query = query.where(_jobs.c.state.in_(states))
        if dataset is not None:
            query = query.where(_jobs.c.dataset == dataset)
        if gram is not None:
            query = query.where(_jobs.c.id.in_(select(_links.c.job).where(_links.c.gram == gram)))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit).offset(offset))).all()
            return await job_records(connection, rows)

    async def jobs_of(self, gram: str) -> list[JobRecord]:
        """Return the jobs that ask for a Gram matrix, the newest first (at most 1000)."""
        return await self.jobs(gram=gram, limit=1000)

    @uninterrupted
    async def job_counts(self) -> dict[str, int]:
        """Return how many jobs are in each state; states without jobs are left out."""
        query = select(_jobs.c.state, func.count()).group_by(_jobs.c.state)
        async with self._database.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}


def _idempotency_digest(key_id: str | None, idempotency_key: str | None) -> str | None:
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{key_id or ''}\0{idempotency_key}".encode()).hexdigest()


async def _by_idempotency(
    connection: AsyncConnection, idempotency_digest: str | None, request_digest: str
) -> JobRecord | None:
    if idempotency_digest is None:
        return None
    query = select(_jobs).where(_jobs.c.idempotency_digest == idempotency_digest)
    rows = (await connection.execute(query)).all()
    if not rows:
        return None
    (record,) = await job_records(connection, rows)
    if rows[0].request_digest != request_digest:
        raise ConflictError(
            f"this Idempotency-Key was used for another request, which made job {record.id}; "
            "send a new key with a new request",
            job=record.id,
        )
    return record
