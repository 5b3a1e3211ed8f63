"""Blocks: which were stored or set aside, and how.

The store decides what is there; these records say how it came about.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.engine import Row

from gramserve.catalog import tables
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.records import BlockRecord, BlockState, BlockTally
from gramserve.catalog.times import utc_now

_blocks = tables.blocks
_PRIMARY = ("gram", "i", "j")


def _record(row: Row[Any]) -> BlockRecord:
    return BlockRecord(**row._mapping)


class Blocks(Facet):
    """The blocks of a catalog's Gram matrices."""

    @uninterrupted
    async def record_blocks(self, records: Iterable[BlockRecord]) -> None:
        """Write down what became of blocks, all of them or none.

        A block is recorded once: the later record replaces the earlier one, but a failure
        never replaces a stored block (a late attempt may fail after another one succeeded).

        Parameters
        ----------
        records : iterable of BlockRecord
            Of Gram matrices that are recorded.

        Raises
        ------
        CatalogError
            When a Gram matrix is not recorded.
        """
        now = utc_now()
        rows = [{**asdict(record), "finished": record.finished or now} for record in records]
        if not rows:
            return
        statement = self._database.insert(_blocks)
        replaced = {
            column.name: statement.excluded[column.name]
            for column in _blocks.columns
            if column.name not in _PRIMARY
        }
        statement = statement.on_conflict_do_update(
            index_elements=list(_PRIMARY),
            set_=replaced,
            where=or_(statement.excluded.state == "stored", _blocks.c.state != "stored"),
        )
        async with self._database.write() as connection:
            await connection.execute(statement, rows)

    @uninterrupted
    async def blocks(
        self,
        gram: str,
        *,
        state: BlockState | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[BlockRecord]:
        """Return the blocks of a Gram matrix in the order of their places.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        state : {"stored", "failed"}, optional
            Only these.
        limit : int, optional
            At most how many; all when None.
        offset : int
            How many to skip.

        Returns
        -------
        list of BlockRecord
        """
        query = select(_blocks).where(_blocks.c.gram == gram)
        if state is not None:
            query = query.where(_blocks.c.state == state)
        query = query.order_by(_blocks.c.i, _blocks.c.j).offset(offset)
        if limit is not None:
            query = query.limit(limit)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(query)]

    @uninterrupted
    async def failed_blocks(
        self, *, gram: str | None = None, job: str | None = None, limit: int = 1000
    ) -> list[BlockRecord]:
        """Return the blocks that were set aside, of a Gram matrix or of all those of a job.

        Parameters
        ----------
        gram, job : str, optional
            Id of the one or the other; both narrow the answer.
        limit : int
            At most how many.

        Returns
        -------
        list of BlockRecord
            In the order of their matrices and places.
        """
        query = select(_blocks).where(_blocks.c.state == "failed")
        if gram is not None:
            query = query.where(_blocks.c.gram == gram)
        if job is not None:
            links = tables.job_grams
            query = query.where(_blocks.c.gram.in_(select(links.c.gram).where(links.c.job == job)))
        query = query.order_by(_blocks.c.gram, _blocks.c.i, _blocks.c.j).limit(limit)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(query)]

    @uninterrupted
    async def block_counts(self, gram: str) -> BlockTally:
        """Return how many blocks of a Gram matrix are recorded as stored and as failed."""
        query = (
            select(_blocks.c.state, func.count())
            .where(_blocks.c.gram == gram)
            .group_by(_blocks.c.state)
        )
        async with self._database.read() as connection:
            counts = {row[0]: row[1] for row in await connection.execute(query)}
        return BlockTally(stored=counts.get("stored", 0), failed=counts.get("failed", 0))

    @uninterrupted
    async def forget_blocks(self, gram: str, places: Iterable[tuple[int, int]]) -> None:
        """Forget blocks that the store does not hold any more, or not whole.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        places : iterable of (int, int)
            Panels of the rows and of the columns.
        """
        async with self._database.write() as connection:
            for i, j in places:
                await connection.execute(
                    delete(_blocks).where(
                        _blocks.c.gram == gram, _blocks.c.i == i, _blocks.c.j == j
                    )
                )
