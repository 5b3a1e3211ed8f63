"""Data sets: immutable, named by their content or by how they were made."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    InvalidDataError,
    StoreNotFoundError,
)
from gramserve.preprocessing import ItemSource, PreprocessedItems
from gramserve.store.dataset_header import DatasetRecord, read_header, write_header
from gramserve.store.files import (
    StagedDirectory,
    remove_directory,
    reporting,
    write_file,
)
from gramserve.store.header import METADATA
from gramserve.store.item_array import ItemArray
from gramserve.store.items import (
    DIGEST_BYTES,
    check_finite,
    check_items_shape,
    digest_items,
    item_digests,
    stored_dtype,
)
from gramserve.store.leftovers import sweep
from gramserve.store.mending import mend_arrays
from gramserve.store.npy import open_npy

_RUN_BYTES = 4 * 2**20
_KEYS_PER_RUN = _RUN_BYTES // DIGEST_BYTES
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DatasetStore:
    """The data sets of a state directory.

    Every data set is a Zarr group ``DIGEST/`` with the arrays ``items`` and ``keys`` (the
    SHA-256 of every item). It is filled under another name and renamed when it is complete, so
    there are no half data sets.

    Parameters
    ----------
    root : Path or str
        Directory of the data sets.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def add(
        self, items: ArrayLike | os.PathLike[str] | ItemSource, *, name: str | None = None
    ) -> DatasetRecord:
        """Store items, or mend those that are stored already where they are damaged.

        Parameters
        ----------
        items : array_like, shape (n, ...), path or str, or ItemSource
            Any real dtype and order. A ``.npy`` file is read in pieces of 4 MiB, as is what
            makes its items when they are asked for.
        name : str, optional
            For people.

        Returns
        -------
        DatasetRecord
            With ``known`` true if it was stored already; it then keeps its first name.

        Raises
        ------
        ShapeError, InvalidDataError, UnsupportedDtypeError
            If these cannot be items: rank, NaN or infinity, none at all, no real numbers, or
            a ``.npy`` file that is damaged.
        StorageFullError
            If there is no space; nothing is left behind.
        """
        return self._add(_open(items), name=name)

    def add_derived(
        self,
        items: ItemSource,
        digest: str,
        *,
        preprocessing: Mapping[str, Any],
        name: str | None = None,
    ) -> DatasetRecord:
        """Store items under the name of how they were made, unless that is stored already.

        Parameters
        ----------
        items : ItemSource, shape (n, ...)
            Read in pieces of 4 MiB.
        digest : str
            :func:`gramserve.spec.derived_address` of what follows.
        preprocessing : mapping
            ``source``, ``fit``, ``recipe`` and ``dtype``, as JSON values.
        name : str, optional
            For people.

        Returns
        -------
        DatasetRecord
            With ``content``, what :meth:`add` would have named these items.

        Raises
        ------
        InvalidDataError
            If an item is not finite.
        StorageFullError
            If there is no space; nothing is left behind.
        """
        return self._add(items, name=name, digest=digest, preprocessing=preprocessing)

    def _add(
        self,
        source: ItemSource,
        *,
        name: str | None,
        digest: str | None = None,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> DatasetRecord:
        dtype = stored_dtype(source.dtype)
        check_items_shape(source.shape)
        with StagedDirectory(self.root) as staged:
            content = _write(staged.path, source, dtype)
            digest = digest or content
            record = DatasetRecord(
                digest=digest,
                shape=source.shape,
                dtype=dtype.name,
                items=source.shape[0],
                bytes=prod(source.shape) * dtype.itemsize,
                name=name,
                created=datetime.now(UTC),
                preprocessing=preprocessing,
                content=None if preprocessing is None else content,
            )
            if not (self.root / digest).exists():
                write_file(staged.path / METADATA, [write_header(record)])
                if staged.commit(self.root / digest):
                    return record
            mend_arrays(self.root / digest, staged.path, ("items", "keys"))
        return replace(self.info(digest), known=True)

    def info(self, digest: str) -> DatasetRecord:
        """Describe a data set.

        Parameters
        ----------
        digest : str
            Its name.

        Returns
        -------
        DatasetRecord
            Without reading the items.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        CorruptBlockError
            If its description cannot be read.
        """
        path = self._path(digest) / METADATA
        with reporting("read", path):
            try:
                return read_header(digest, path.read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                raise self._no(digest) from None
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise CorruptBlockError(
                    f"{path} cannot be read: {error!r}; delete the data set and add it again",
                    path=str(path),
                ) from error

    def has(self, digest: str) -> bool:
        """Whether a data set is stored.

        Parameters
        ----------
        digest : str
            Its name.
        """
        return bool(_DIGEST.fullmatch(digest)) and (self.root / digest / METADATA).is_file()

    def list(self) -> list[DatasetRecord]:
        """Describe all data sets.

        Returns
        -------
        list of DatasetRecord
            Oldest first.
        """
        with reporting("list", self.root):
            try:
                names = [entry.name for entry in self.root.iterdir()]
            except FileNotFoundError:
                return []
        found = [self.info(name) for name in names if self.has(name)]
        return sorted(found, key=lambda record: (record.created, record.digest))

    def delete(self, digest: str) -> None:
        """Remove a data set.

        Parameters
        ----------
        digest : str
            Its name.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        """
        if not remove_directory(self._path(digest)):
            raise self._no(digest)

    def sweep(self) -> int:
        """Remove what uploads that died left behind.

        Returns
        -------
        int
            How many.
        """
        return sweep(self.root)

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read items, checking their checksums.

        Parameters
        ----------
        digest : str
            Name of the data set.
        start, stop : int
            Half-open range of items; to the end by default.

        Returns
        -------
        ndarray, shape (stop - start, *item shape)
            In the dtype they are stored in.

        Raises
        ------
        StoreNotFoundError
            If there is no such data set.
        RowRangeError
            If the range is not inside it.
        CorruptBlockError
            If bytes are damaged or missing.
        """
        return self._read(digest, "items", start, stop)

    def open(self, digest: str) -> "StoredItems":
        """Open the items for reading some at a time.

        Parameters
        ----------
        digest : str
            Name of the data set.

        Returns
        -------
        StoredItems
            Nothing is read yet.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        """
        return StoredItems(self, self.info(digest))

    def item_keys(self, digest: str, start: int = 0, stop: int | None = None) -> NDArray[np.bytes_]:
        """Return what identifies every item: equal keys, equal bytes.

        Parameters
        ----------
        digest : str
            Name of the data set.
        start, stop : int
            Half-open range of items; to the end by default.

        Returns
        -------
        ndarray of S32, shape (stop - start,)
            SHA-256 of little-endian C order bytes. NumPy drops zero bytes at the end of a
            single element, which leaves comparisons exact.
        """
        digests = self._read(digest, "keys", start, stop)
        return digests.view(f"S{DIGEST_BYTES}").reshape(-1)

    def range_digest(self, digest: str, start: int, stop: int) -> str:
        """Return what names a range of items, the same in every data set that holds them.

        Parameters
        ----------
        digest : str
            Name of the data set.
        start, stop : int
            Half-open range of items.

        Returns
        -------
        str
            64 hexadecimal digits; of all items, the name of their content.
        """
        record = self.info(digest)
        digests = self._read(digest, "keys", start, stop)
        return digest_items(record.shape[1:], np.dtype(record.dtype), digests)

    def _read(self, digest: str, array: str, start: int, stop: int | None) -> NDArray[Any]:
        path = self._path(digest)
        if not self.has(digest):
            raise self._no(digest)
        try:
            return ItemArray.reopen(path / array).read(start, stop)
        except (BlockMissingError, CorruptBlockError, StoreNotFoundError) as error:
            if not self.has(digest):  # deleted since
                raise self._no(digest) from None
            raise CorruptBlockError(
                f"the data set {path} is damaged: {error}; add the same items again to mend it",
                path=str(path),
            ) from error

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise self._no(digest)
        return self.root / digest

    def _no(self, digest: str) -> StoreNotFoundError:
        return StoreNotFoundError(f"no data set {digest!r}; upload it first", dataset=digest)


class StoredItems:
    """The items of a stored data set, read by slices of neighbours.

    Parameters
    ----------
    store : DatasetStore
        Where they are.
    record : DatasetRecord
        What they are.
    """

    def __init__(self, store: DatasetStore, record: DatasetRecord) -> None:
        self._store, self._digest = store, record.digest
        self.shape = record.shape
        self.dtype = np.dtype(record.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, run: slice, /) -> NDArray[Any]:
        start, stop, _ = run.indices(len(self))
        return self._store.read(self._digest, start, stop)


def _open(items: ArrayLike | os.PathLike[str] | ItemSource) -> ItemSource:
    if isinstance(items, str | os.PathLike):
        return open_npy(Path(items))
    if isinstance(items, PreprocessedItems):
        return items
    try:
        return np.asarray(items)
    except ValueError as error:
        raise InvalidDataError(f"these items are not one array: {error}") from error


def _write(folder: Path, source: ItemSource, dtype: np.dtype[Any]) -> str:
    item_shape = source.shape[1:]
    item_bytes = int(np.prod(item_shape)) * dtype.itemsize
    run = max(1, _RUN_BYTES // item_bytes)
    array = ItemArray.create(folder / "items", shape=source.shape, dtype=dtype, run=run)
    digests = np.empty((source.shape[0], DIGEST_BYTES), np.uint8)
    for number in range(array.runs):
        start, stop = array.run_range(number)
        # A copy: what is hashed is what is written, whoever else has the source.
        values = np.array(source[start:stop], dtype, order="C", copy=True)
        check_finite(values, start)
        digests[start:stop] = item_digests(values)
        array.write_run(number, values)
    keys = ItemArray.create(folder / "keys", shape=digests.shape, dtype=np.uint8, run=_KEYS_PER_RUN)
    for number in range(keys.runs):
        keys.write_run(number, digests[slice(*keys.run_range(number))])
    return digest_items(item_shape, dtype, digests)
