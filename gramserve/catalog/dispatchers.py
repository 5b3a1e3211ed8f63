"""Dispatchers: which are alive, and what becomes of what the others held.

A dispatcher that lives counts its beat up. Nobody's clock is compared with anybody else's: who
watches remembers the beat it saw, and when it has seen the same beat for long enough by its own
steady clock, it retires the dispatcher, provided that the beat is still the same.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.jobs import job_records
from gramserve.catalog.lifecycle import move_job
from gramserve.catalog.records import JobRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import HELD_STATES

_dispatchers = tables.dispatchers
_jobs = tables.jobs

INTERRUPTED = "its server stopped; it goes on from the blocks that are stored"
"""Why a job waits whose dispatcher went away."""


class Dispatchers(Facet):
    """The dispatchers of a catalog."""

    @uninterrupted
    async def open_dispatcher(
        self, *, home: str | None = None, alone: bool = False
    ) -> tuple[str, list[JobRecord]]:
        """Begin to work, and take over what earlier dispatchers of the same place left.

        Parameters
        ----------
        home : str, optional
            Names a place of which the caller knows that only one dispatcher at a time works
            there, such as a locked directory: an earlier one of that place is dead.
        alone : bool
            Whether nobody else can use the database: all earlier dispatchers are dead.

        Returns
        -------
        str
            Id of the new dispatcher, used never before.
        list of JobRecord
            Jobs that were taken from the dead: queued again, or cancelled.
        """
        dispatcher = secrets.token_hex(16)
        row = {"id": dispatcher, "home": home, "beat": 0, "started": utc_now()}
        async with self._database.write() as connection:
            if alone:
                await connection.execute(delete(_dispatchers))
            elif home is not None:
                await connection.execute(delete(_dispatchers).where(_dispatchers.c.home == home))
            await connection.execute(insert(_dispatchers).values(row))
            moved = await _requeue_orphans(connection)
        self._ring(moved)
        return dispatcher, moved

    @uninterrupted
    async def beat(self, dispatcher: str) -> bool:
        """Say that a dispatcher is alive.

        Parameters
        ----------
        dispatcher : str
            Id.

        Returns
        -------
        bool
            False when it counted as dead: others may have what it held, and it must let go.
        """
        statement = update(_dispatchers).where(_dispatchers.c.id == dispatcher)
        async with self._database.write() as connection:
            done = await connection.execute(statement.values(beat=_dispatchers.c.beat + 1))
            return done.rowcount == 1

    @uninterrupted
    async def beats(self) -> dict[str, int]:
        """Return the present beat of every dispatcher."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(_dispatchers.c.id, _dispatchers.c.beat))
            return {row.id: row.beat for row in rows}

    @uninterrupted
    async def retire_dispatcher(self, dispatcher: str, *, beat: int | None = None) -> bool:
        """Take everything from a dispatcher: jobs are queued again, Gram matrices are free.

        Parameters
        ----------
        dispatcher : str
            Id.
        beat : int, optional
            The last one seen; if it has beaten since, nothing happens. None when it says itself
            that it ends.

        Returns
        -------
        bool
            Whether it was retired.
        """
        statement = delete(_dispatchers).where(_dispatchers.c.id == dispatcher)
        if beat is not None:
            statement = statement.where(_dispatchers.c.beat == beat)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount != 1:
                return False
            moved = await _requeue_orphans(connection)
        self._ring(moved)
        return True

    @uninterrupted
    async def requeue_interrupted(self) -> list[JobRecord]:
        """Retire every dispatcher; for a single server, before it opens its own.

        Planning and running jobs are queued again, what was being cancelled is cancelled;
        whoever held them is refused from now on.

        Returns
        -------
        list of JobRecord
            Those that were moved, as they are now.
        """
        async with self._database.write() as connection:
            await connection.execute(delete(_dispatchers))
            moved = await _requeue_orphans(connection)
        self._ring(moved)
        return moved

    def _ring(self, jobs: Sequence[JobRecord]) -> None:
        for job in jobs:
            self._bell.ring(job.id)


async def _requeue_orphans(connection: AsyncConnection) -> list[JobRecord]:
    """Take jobs from holders that have no row any more."""
    is_orphan: ColumnElement[Any] = _jobs.c.dispatcher.is_(None) | _jobs.c.dispatcher.not_in(
        select(_dispatchers.c.id)
    )
    query = select(_jobs).where(_jobs.c.state.in_(HELD_STATES), is_orphan).order_by(_jobs.c.created)
    rows = (await connection.execute(query.with_for_update())).all()
    at, moved = utc_now(), []
    for job in await job_records(connection, rows):
        if job.state == "cancelling":
            moved.append(await move_job(connection, job, "cancelled", at=at))
        else:
            reason = INTERRUPTED
            moved.append(await move_job(connection, job, "queued", at=at, waiting_reason=reason))
    return moved
