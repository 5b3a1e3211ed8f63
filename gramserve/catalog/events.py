"""Events: what happened to a job, in order; what progress streams are made of."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.records import EventKind, EventRecord

_events = tables.events

PROGRESS_KEPT = 1000
"""Progress events older than this many events (of all jobs) are dropped; states never are."""


async def append_event(
    connection: AsyncConnection, job: str, kind: EventKind, data: Mapping[str, Any], at: datetime
) -> None:
    """Write one event, and drop the job's progress events that are too old to interest anyone.

    A stream that reads slowly misses numbers that newer numbers have replaced.
    """
    statement = insert(_events).values(job=job, at=at, kind=kind, data=dict(data))
    seq = (await connection.execute(statement.returning(_events.c.seq))).scalar_one()
    if kind == "progress":
        await _drop_progress(connection, job, before=seq - PROGRESS_KEPT)


async def prune_progress(connection: AsyncConnection, job: str) -> None:
    """Drop the progress events of a finished job except the last one."""
    last = await connection.scalar(
        select(func.max(_events.c.seq)).where(_events.c.job == job, _events.c.kind == "progress")
    )
    if last is not None:
        await _drop_progress(connection, job, before=last)


async def _drop_progress(connection: AsyncConnection, job: str, *, before: int) -> None:
    await connection.execute(
        delete(_events).where(
            _events.c.job == job, _events.c.kind == "progress", _events.c.seq < before
        )
    )


class Events(Facet):
    """The events of a catalog's jobs."""

    @uninterrupted
    async def events_after(self, job: str, seq: int = 0, *, limit: int = 1000) -> list[EventRecord]:
        """Return what happened to a job since an event.

        Parameters
        ----------
        job : str
            Id; of an unknown job nothing ever happened.
        seq : int
            Number of the last event seen (``Last-Event-ID``); 0 for all.
        limit : int
            At most how many.

        Returns
        -------
        list of EventRecord
            In order.
        """
        query = select(_events).where(_events.c.job == job, _events.c.seq > seq)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(_events.c.seq).limit(limit))
            return [EventRecord(**row._mapping) for row in rows]

    async def wait_for_event(
        self, job: str, after_seq: int, timeout_s: float, *, limit: int = 1000
    ) -> list[EventRecord]:
        """Return what happened to a job since an event, as soon as there is something.

        Parameters
        ----------
        job : str
            Id.
        after_seq : int
            Number of the last event seen; 0 for all.
        timeout_s : float
            How long to wait, in seconds.
        limit : int
            At most how many.

        Returns
        -------
        list of EventRecord
            In order; empty when nothing happened in time or the catalog was closed.

        Notes
        -----
        Events that this process writes wake the waiter at once. What another process writes
        to the same database is seen when the time is over.
        """
        with self._bell.listen(job) as rang:
            events: list[EventRecord] = []
            try:
                async with asyncio.timeout(timeout_s):
                    while not events and not self._bell.is_silenced:
                        rang.clear()
                        events = await self.events_after(job, after_seq, limit=limit)
                        if not events:
                            await rang.wait()
            except TimeoutError:
                events = await self.events_after(job, after_seq, limit=limit)
            return events
