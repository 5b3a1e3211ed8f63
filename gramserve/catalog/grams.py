"""Gram matrices: what the catalog remembers of them, and who asked for them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.datasets import lock_dataset
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.records import GramRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import ACTIVE_STATES
from gramserve.errors import ConflictError, StoreNotFoundError

_grams = tables.grams
_links = tables.job_grams


def _record(row: Row[Any]) -> GramRecord:
    return GramRecord(**row._mapping)


async def lock_gram(connection: AsyncConnection, gram: str) -> GramRecord:
    """Return a Gram matrix and keep it from being forgotten until the transaction ends.

    Raises
    ------
    StoreNotFoundError
        When there is none.
    """
    query = select(_grams).where(_grams.c.id == gram).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _unknown(gram)
    return _record(row)


def _unknown(gram: str) -> StoreNotFoundError:
    return StoreNotFoundError(f"no Gram matrix {gram}; submit a job that makes it", gram=gram)


class Grams(Facet):
    """The Gram matrices of a catalog."""

    @uninterrupted
    async def record_gram(
        self,
        id: str,  # noqa: A002 - the contract's word
        *,
        kernel: str,
        spec: Mapping[str, Any],
        precision: str,
        dataset: str,
        other: str | None = None,
        rows: int,
        columns: int,
        block_size: int,
        symmetric: bool,
        dtype: str,
        path: str,
        blocks_total: int,
        kernel_address: str | None = None,
    ) -> GramRecord:
        """Remember a Gram matrix; one that is known stays as it is, but may have moved.

        It counts as used now.

        Parameters
        ----------
        id : str
            Content address.
        kernel : str
            "nngp" or "ntk".
        spec : mapping
            Canonical kernel spec with this one kernel named.
        precision, dtype : str
            How the numbers are computed, and how they are stored.
        dataset, other : str
            Data sets of the rows and of the columns; ``other`` is None for the symmetric matrix.
        rows, columns : int
            Items of the two.
        block_size : int
            Rows and columns of a block.
        symmetric : bool
            Whether only blocks with ``i <= j`` are computed.
        path : str
            Where the store keeps it.
        blocks_total : int
            Blocks to compute.
        kernel_address : str, optional
            What names the function whose values it holds; None leaves what is known.

        Returns
        -------
        GramRecord

        Raises
        ------
        StoreNotFoundError
            When a data set is not known.
        ConflictError
            When another matrix has this id; names the fields that differ.
        """
        fields = {
            "id": id,
            "kernel": kernel,
            "spec": dict(spec),
            "precision": precision,
            "dataset": dataset,
            "other": other,
            "rows": rows,
            "columns": columns,
            "block_size": block_size,
            "symmetric": symmetric,
            "dtype": dtype,
            "path": path,
            "blocks_total": blocks_total,
        }
        now = utc_now()
        statement = self._database.insert(_grams).values(**fields, created=now)
        changes: dict[str, Any] = {"path": path, "last_used": now}
        if kernel_address is not None:
            changes["kernel_address"] = kernel_address
        async with self._database.write() as connection:
            for digest in sorted({dataset, other or dataset}):  # one order: no deadlock
                await lock_dataset(connection, digest)
            await connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
            await connection.execute(update(_grams).where(_grams.c.id == id).values(**changes))
            record = await lock_gram(connection, id)
        differing = [name for name, value in fields.items() if getattr(record, name) != value]
        if differing:
            raise ConflictError(
                f"Gram matrix {id} is known with another {', '.join(differing)}; its id does "
                "not name its content",
                gram=id,
            )
        return record

    @uninterrupted
    async def gram(self, id: str) -> GramRecord:  # noqa: A002
        """Return one Gram matrix.

        Raises
        ------
        StoreNotFoundError
            When there is none of this id.
        """
        async with self._database.read() as connection:
            query = select(_grams).where(_grams.c.id == id)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise _unknown(id)
        return _record(row)

    @uninterrupted
    async def grams(
        self, *, dataset: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[GramRecord]:
        """Return Gram matrices, the newest first.

        Parameters
        ----------
        dataset : str, optional
            Only those with this data set as rows or columns.
        limit, offset : int
            At most how many, and how many to skip.

        Returns
        -------
        list of GramRecord
        """
        query = select(_grams).order_by(_grams.c.created.desc(), _grams.c.id)
        if dataset is not None:
            query = query.where(or_(_grams.c.dataset == dataset, _grams.c.other == dataset))
        async with self._database.read() as connection:
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_record(row) for row in rows]

    @uninterrupted
    async def grams_of(self, job: str) -> dict[str, GramRecord]:
        """Return the Gram matrices of a job by output, without those that were forgotten."""
        query = (
            select(_grams, _links.c.kernel.label("output"))
            .join(_links, _links.c.gram == _grams.c.id)
            .where(_links.c.job == job)
            .order_by(_links.c.kernel)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            records = [dict(row._mapping) for row in rows]
        return {record.pop("output"): GramRecord(**record) for record in records}

    @uninterrupted
    async def forget_gram(self, id: str) -> None:  # noqa: A002
        """Forget a Gram matrix and its blocks; finished jobs keep its id.

        Raises
        ------
        StoreNotFoundError
            When there is none of this id.
        ConflictError
            When an unfinished job needs it; names the job.
        """
        active = (
            select(_links.c.job)
            .join(tables.jobs, tables.jobs.c.id == _links.c.job)
            .where(_links.c.gram == id, tables.jobs.c.state.in_(ACTIVE_STATES))
        )
        async with self._database.write() as connection:
            await lock_gram(connection, id)
            needed_by = list(await connection.scalars(active))
            if needed_by:
                raise ConflictError(
                    f"Gram matrix {id} is being made by {len(needed_by)} unfinished jobs, "
                    f"one of them {needed_by[0]}; cancel them first",
                    gram=id,
                    jobs=needed_by,
                )
            await connection.execute(delete(_grams).where(_grams.c.id == id))
