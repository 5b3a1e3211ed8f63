"""Data sets: what the catalog remembers of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.records import DatasetRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import ACTIVE_STATES
from gramserve.errors import ConflictError, StoreNotFoundError

_datasets = tables.datasets
_derivations = tables.derivations


def _all() -> Select[Any]:
    """Select data sets, each with how it was made if it was made from another."""
    made = (_derivations.c.source, _derivations.c.fit, _derivations.c.recipe)
    return select(_datasets, *made).outerjoin(_derivations)


def _record(row: Row[Any]) -> DatasetRecord:
    fields = dict(row._mapping)
    made = {key: fields.pop(key) for key in ("source", "fit", "recipe")}
    # Items have the dtype that was asked for: it is written down once.
    preprocessing = None if made["source"] is None else {**made, "dtype": fields["dtype"]}
    shape = tuple(fields.pop("shape"))
    return DatasetRecord(**fields, shape=shape, preprocessing=preprocessing)


async def lock_dataset(connection: AsyncConnection, digest: str) -> DatasetRecord:
    """Return a data set and keep it from being forgotten until the transaction ends.

    Raises
    ------
    StoreNotFoundError
        When there is none.
    """
    query = _all().where(_datasets.c.digest == digest).with_for_update(of=_datasets)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _unknown(digest)
    return _record(row)


def _unknown(digest: str) -> StoreNotFoundError:
    return StoreNotFoundError(
        f"no data set {digest}; upload it, or list those there are", dataset=digest
    )


class Datasets(Facet):
    """The data sets of a catalog."""

    @uninterrupted
    async def record_dataset(
        self,
        digest: str,
        *,
        shape: Sequence[int],
        dtype: str,
        items: int,
        bytes: int,  # noqa: A002 - the contract's word
        name: str | None = None,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> DatasetRecord:
        """Remember a data set; one that is known stays as it is, but takes a new name.

        Parameters
        ----------
        digest : str
            SHA-256 that names the content or how it was made, 64 hexadecimal digits.
        shape : sequence of int
            Items first, then the shape of one item.
        dtype : str
            NumPy name.
        items : int
            Number of items.
        bytes : int
            Size without compression, in bytes.
        name : str, optional
            For people.
        preprocessing : mapping, optional
            ``source``, ``fit`` and ``recipe`` of one that was made from another.

        Returns
        -------
        DatasetRecord
        """
        statement = self._database.insert(_datasets).values(
            digest=digest,
            name=name,
            shape=list(shape),
            dtype=dtype,
            items=items,
            bytes=bytes,
            created=utc_now(),
        )
        async with self._database.write() as connection:
            await connection.execute(statement.on_conflict_do_nothing(index_elements=["digest"]))
            if preprocessing is not None:
                made = {key: preprocessing[key] for key in ("source", "fit", "recipe")}
                derived = self._database.insert(_derivations).values(dataset=digest, **made)
                await connection.execute(derived.on_conflict_do_nothing(index_elements=["dataset"]))
            if name is not None:
                await connection.execute(
                    update(_datasets).where(_datasets.c.digest == digest).values(name=name)
                )
            return await lock_dataset(connection, digest)

    @uninterrupted
    async def dataset(self, digest: str) -> DatasetRecord:
        """Return one data set.

        Raises
        ------
        StoreNotFoundError
            When there is none of this digest.
        """
        async with self._database.read() as connection:
            query = _all().where(_datasets.c.digest == digest)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise _unknown(digest)
        return _record(row)

    @uninterrupted
    async def datasets(self, *, limit: int = 100, offset: int = 0) -> list[DatasetRecord]:
        """Return data sets, the newest first.

        Parameters
        ----------
        limit, offset : int
            At most how many, and how many to skip.

        Returns
        -------
        list of DatasetRecord
        """
        order = (_datasets.c.created.desc(), _datasets.c.digest)
        query = _all().order_by(*order).limit(limit).offset(offset)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(query)]

    @uninterrupted
    async def forget_dataset(self, digest: str) -> None:
        """Forget a data set that no Gram matrix, unfinished job or other data set needs.

        A finished job keeps the digest it was asked with.

        Raises
        ------
        StoreNotFoundError
            When there is none of this digest.
        ConflictError
            When it is still needed; says by how many.
        """
        async with self._database.write() as connection:
            await lock_dataset(connection, digest)
            needing = {
                "Gram matrices": select(func.count()).where(
                    or_(tables.grams.c.dataset == digest, tables.grams.c.other == digest)
                ),
                "data sets preprocessed from it or by it": select(func.count()).where(
                    or_(_derivations.c.source == digest, _derivations.c.fit == digest)
                ),
                "unfinished jobs": select(func.count()).where(
                    or_(tables.jobs.c.dataset == digest, tables.jobs.c.other == digest),
                    tables.jobs.c.state.in_(ACTIVE_STATES),
                ),
            }
            for what, query in needing.items():
                count = await connection.scalar(query)
                if count:
                    raise ConflictError(
                        f"data set {digest} is needed by {count} {what}; delete or cancel "
                        "them first",
                        dataset=digest,
                    )
            await connection.execute(delete(_datasets).where(_datasets.c.digest == digest))
