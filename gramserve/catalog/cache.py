"""The shared cache: which matrices hold the same function, how they are used, which are kept."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from itertools import batched
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.grams import lock_gram
from gramserve.catalog.records import (
    BlockGroup,
    BlockRecord,
    GramRecord,
    PinRecord,
    ReuseTally,
)
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import ACTIVE_STATES
from gramserve.errors import ConflictError
from gramserve.spec.status import TERMINAL_STATES

_blocks, _grams, _jobs = tables.blocks, tables.grams, tables.jobs
_keys, _links, _pins = tables.keys, tables.job_grams, tables.pins
# Two parameters for every place; the strictest database takes 999.
_PLACES = 400


async def _live_jobs(connection: AsyncConnection, gram: str) -> list[str]:
    query = (
        select(_links.c.job)
        .join(_jobs, _jobs.c.id == _links.c.job)
        .where(_links.c.gram == gram, _jobs.c.state.in_(ACTIVE_STATES))
    )
    return list(await connection.scalars(query))


class Cache(Facet):
    """Sharing and keeping the Gram matrices of a catalog."""

    @uninterrupted
    async def kin(self, kernel_address: str) -> list[GramRecord]:
        """Return the Gram matrices that hold values of one function, the oldest first.

        Parameters
        ----------
        kernel_address : str
            See :func:`gramserve.spec.kernel_address`.

        Returns
        -------
        list of GramRecord
        """
        query = select(_grams).where(_grams.c.kernel_address == kernel_address)
        query = query.order_by(_grams.c.created, _grams.c.id)
        async with self._database.read() as connection:
            return [GramRecord(**row._mapping) for row in await connection.execute(query)]

    @uninterrupted
    async def blocks_at(
        self, gram: str, places: Collection[tuple[int, int]]
    ) -> dict[tuple[int, int], BlockRecord]:
        """Return what is recorded of some stored blocks of a Gram matrix.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        places : collection of (int, int)
            Panels of the rows and of the columns.

        Returns
        -------
        dict of (int, int) to BlockRecord
            Without the blocks of which nothing is recorded.
        """
        found: dict[tuple[int, int], BlockRecord] = {}
        async with self._database.read() as connection:
            for some in batched(places, _PLACES):
                query = select(_blocks).where(
                    _blocks.c.gram == gram,
                    _blocks.c.state == "stored",
                    tuple_(_blocks.c.i, _blocks.c.j).in_(some),
                )
                for row in await connection.execute(query):
                    found[row.i, row.j] = BlockRecord(**row._mapping)
        return found

    @uninterrupted
    async def block_groups(self, gram: str) -> list[BlockGroup]:
        """Return the stored blocks of a Gram matrix, those made alike counted together."""
        adopted = _blocks.c.adopted_from.is_not(None)
        alike = (_blocks.c.engine, _blocks.c.device, _blocks.c.code_version, _blocks.c.worker)
        query = (
            select(
                *alike,
                adopted.label("adopted"),
                func.count().label("blocks"),
                func.coalesce(func.sum(_blocks.c.seconds), 0.0).label("seconds"),
            )
            .where(_blocks.c.gram == gram, _blocks.c.state == "stored")
            .group_by(*alike, adopted)
            .order_by(func.count().desc())
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [
                BlockGroup(**{**row._mapping, "adopted": bool(row.adopted)})  # SQLite: 0 or 1
                for row in rows
            ]

    @uninterrupted
    async def record_use(self, rows: Mapping[str, int], at: datetime | None = None) -> None:
        """Write down that rows of Gram matrices were read, many at once.

        Parameters
        ----------
        rows : mapping of str to int
            Rows read of every matrix since the last time; unknown ids are left out.
        at : datetime, optional
            When; this moment when not given.
        """
        if not rows:
            return
        statement = (
            update(_grams)
            .where(_grams.c.id == bindparam("of"))
            .values(
                rows_served=_grams.c.rows_served + bindparam("count"), last_used=at or utc_now()
            )
        )
        values = [{"of": gram, "count": count} for gram, count in sorted(rows.items())]
        async with self._database.write() as connection:
            await connection.execute(statement, values)

    @uninterrupted
    async def record_verified(self, gram: str, at: datetime | None = None) -> None:
        """Write down that every stored byte of a Gram matrix was checked."""
        statement = update(_grams).where(_grams.c.id == gram).values(verified=at or utc_now())
        async with self._database.write() as connection:
            await connection.execute(statement)

    @uninterrupted
    async def record_audit(self, gram: str, audit: Mapping[str, Any]) -> None:
        """Keep what an audit of a Gram matrix found, in place of the one before."""
        statement = update(_grams).where(_grams.c.id == gram).values(audit=dict(audit))
        async with self._database.write() as connection:
            await connection.execute(statement)

    @uninterrupted
    async def pin_gram(self, gram: str, key_id: str, reason: str | None = None) -> None:
        """Keep a Gram matrix from being evicted; pinning again replaces the reason.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        key_id : str
            Whose wish it is.
        reason : str, optional
            For people.

        Raises
        ------
        StoreNotFoundError
            When there is no such matrix.
        """
        statement = self._database.insert(_pins).values(
            gram=gram, key_id=key_id, reason=reason, created=utc_now()
        )
        async with self._database.write() as connection:
            await lock_gram(connection, gram)
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["gram", "key_id"], set_={"reason": reason}
                )
            )

    @uninterrupted
    async def unpin_gram(self, gram: str, key_id: str | None = None) -> int:
        """Take back one user's pin of a Gram matrix, or all pins.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        key_id : str, optional
            Whose pin; everybody's when not given.

        Returns
        -------
        int
            How many pins there were.
        """
        statement = delete(_pins).where(_pins.c.gram == gram)
        if key_id is not None:
            statement = statement.where(_pins.c.key_id == key_id)
        async with self._database.write() as connection:
            return (await connection.execute(statement)).rowcount

    @uninterrupted
    async def pins(self, gram: str | None = None) -> list[PinRecord]:
        """Return the pins of one Gram matrix or of all, the oldest first."""
        query = (
            select(_pins, _keys.c.name.label("key_name"))
            .join(_keys, _keys.c.id == _pins.c.key_id)
            .order_by(_pins.c.created, _pins.c.gram, _pins.c.key_id)
        )
        if gram is not None:
            query = query.where(_pins.c.gram == gram)
        async with self._database.read() as connection:
            return [PinRecord(**row._mapping) for row in await connection.execute(query)]

    @uninterrupted
    async def live_grams(self) -> set[str]:
        """Return the ids of all Gram matrices that unfinished jobs refer to."""
        query = (
            select(_links.c.gram)
            .join(_jobs, _jobs.c.id == _links.c.job)
            .where(_jobs.c.state.in_(ACTIVE_STATES))
        )
        async with self._database.read() as connection:
            return set(await connection.scalars(query))

    @uninterrupted
    async def askers(self) -> dict[str, list[tuple[str, str]]]:
        """Return who asked for every Gram matrix: ids and names of keys, sorted by name."""
        query = (
            select(_links.c.gram, _keys.c.id, _keys.c.name)
            .join(_jobs, _jobs.c.id == _links.c.job)
            .join(_keys, _keys.c.id == _jobs.c.key_id)
            .distinct()
            .order_by(_keys.c.name, _keys.c.id)
        )
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        async with self._database.read() as connection:
            for row in await connection.execute(query):
                found[row.gram].append((row.id, row.name))
        return dict(found)

    @uninterrupted
    async def reuse(self) -> list[ReuseTally]:
        """Return what finished jobs asked for and did not have to compute, by user."""
        query = (
            select(
                _jobs.c.key_id,
                _keys.c.name.label("key_name"),
                func.count().label("jobs"),
                func.sum(_jobs.c.blocks_done).label("blocks_asked"),
                func.sum(_jobs.c.blocks_reused).label("blocks_reused"),
            )
            .outerjoin(_keys, _keys.c.id == _jobs.c.key_id)
            .where(_jobs.c.state.in_(TERMINAL_STATES))
            .group_by(_jobs.c.key_id, _keys.c.name)
            .order_by(_keys.c.name)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            # PostgreSQL sums integers into decimals.
            return [
                ReuseTally(
                    key_id=row.key_id,
                    key_name=row.key_name,
                    jobs=row.jobs,
                    blocks_asked=int(row.blocks_asked),
                    blocks_reused=int(row.blocks_reused),
                )
                for row in rows
            ]

    @uninterrupted
    async def evict_gram(
        self, gram: str, *, last_used: datetime | None, remove: Callable[[], object]
    ) -> None:
        """Remove a Gram matrix and forget it, unless somebody wants it.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        last_used : datetime or None
            As it was when the matrix was chosen: one that was used since then stays.
        remove : callable
            Takes the files away, at once and without waiting: it runs inside the transaction,
            so that nobody can ask for the matrix between the two.

        Raises
        ------
        StoreNotFoundError
            When there is none of this id.
        ConflictError
            When it is pinned, needed by an unfinished job or was used meanwhile; nothing
            happened then.
        """
        async with self._database.write() as connection:
            record = await lock_gram(connection, gram)
            if record.last_used != last_used:
                raise ConflictError(f"Gram matrix {gram} was used a moment ago", gram=gram)
            if await connection.scalar(select(exists().where(_pins.c.gram == gram))):
                raise ConflictError(f"Gram matrix {gram} is pinned; unpin it first", gram=gram)
            if jobs := await _live_jobs(connection, gram):
                raise ConflictError(
                    f"Gram matrix {gram} is needed by the unfinished job {jobs[0]}; cancel that",
                    gram=gram,
                    jobs=jobs,
                )
            await connection.execute(delete(_grams).where(_grams.c.id == gram))
            remove()

    @uninterrupted
    async def all_grams(self) -> list[GramRecord]:
        """Return every Gram matrix, the least recently used first."""
        used = func.coalesce(_grams.c.last_used, _grams.c.created)
        query = select(_grams).order_by(used, _grams.c.id)
        async with self._database.read() as connection:
            return [GramRecord(**row._mapping) for row in await connection.execute(query)]
