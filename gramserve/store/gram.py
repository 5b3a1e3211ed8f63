"""A Gram matrix on disk: one Zarr array, written by blocks and read by rows."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from gramserve.errors import StoreMismatchError
from gramserve.store.block_objects import Block, BlockObjects
from gramserve.store.files import PARTIAL, StagedFile, identity_of, reporting
from gramserve.store.gather import PanelColumns, PanelRows, split_columns, split_rows
from gramserve.store.header import METADATA, GramHeader
from gramserve.store.selection import Indices, Request, resolve
from gramserve.store.shard_files import OPEN_SHARDS, RowBytes, ShardFiles


class GramStore(BlockObjects):
    """A Gram matrix on a local disk, complete or still growing.

    Zarr v3 array ``(N, M)`` of float32 or float64, fill value NaN. A block is one whole shard
    and belongs to one writer. Of a symmetric matrix both triangles are stored, so that a row is
    a straight read; a block then counts as stored once both its objects exist.

    Parameters
    ----------
    path : Path
        Directory of the array.
    header : GramHeader
        What it holds; use :meth:`create` or :meth:`open`.
    files : ShardFiles, optional
        Open files to share; those of the process by default.

    Notes
    -----
    Reading and writing are safe from several threads and processes, each block having one
    writer at a time. No method ever returns NaN for a block that is missing.
    """

    def __init__(self, path: Path, header: GramHeader, files: ShardFiles = OPEN_SHARDS) -> None:
        super().__init__(path, header)
        self._files = files
        self._itemsize = header.dtype.itemsize

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        shape: tuple[int, int],
        dtype: DTypeLike,
        block_size: int,
        symmetric: bool,
        attributes: Mapping[str, Any] | None = None,
    ) -> Self:
        """Create a Gram matrix without blocks, or open the same one again.

        Parameters
        ----------
        path : Path or str
            Directory of the array; parents are made.
        shape : tuple of int
            Rows and columns.
        dtype : dtype
            float32 or float64.
        block_size : int
            Rows and columns of a block.
        symmetric : bool
            Whether block (j, i) is the transpose of block (i, j).
        attributes : mapping, optional
            What the matrix is, as JSON: kernel spec, data set, precision.

        Returns
        -------
        GramStore
            The new or the existing one.

        Raises
        ------
        StoreMismatchError
            If the directory holds something else; names every field that differs.
        StoreError
            If the directory cannot be written.
        """
        path = Path(path)
        header = GramHeader(shape, np.dtype(dtype), block_size, symmetric, attributes or {})
        if not (path / METADATA).exists():
            _refuse_foreign(path)
            # Linked, not renamed, into place: of two creators at once the second compares.
            with StagedFile(path / METADATA, [header.encode()]) as staged:
                staged.commit_new()
        found = GramHeader.read(path)
        if differences := found.differences(header):
            raise StoreMismatchError(
                f"{path} holds another Gram matrix: {'; '.join(differences)}; give another path "
                "or remove it",
                path=str(path),
                differences=differences,
            )
        return cls(path, found)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a Gram matrix.

        Parameters
        ----------
        path : Path or str
            Directory of the array.

        Returns
        -------
        GramStore
            For reading and writing.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        StoreMismatchError
            If the array is not a Gram matrix of this format.
        """
        return cls(Path(path), GramHeader.read(Path(path)))

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Open as :meth:`open` does; reading the description again only when it was replaced.

        Parameters
        ----------
        path : Path
            Directory of the Gram matrix.

        Returns
        -------
        GramStore
            Possibly one that others use too.

        Raises
        ------
        GramserveError
            As :meth:`open`.
        """
        try:
            identity = identity_of(path / METADATA)
        except OSError:
            return cls.open(path)  # says what is wrong
        return cls._open_again(path, identity)

    @classmethod
    @lru_cache(maxsize=64)
    def _open_again(cls, path: Path, _identity: tuple[int, int, int]) -> Self:
        return cls.open(path)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers get the place, not open files.
        return (type(self), (self.path, self.header))

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<GramStore {self.path} {rows} x {columns} {self.dtype.name}>"

    def read(self, rows: Request = None, columns: Request = None) -> NDArray[np.floating]:
        """Read rows, or some columns of them.

        Parameters
        ----------
        rows, columns : None, int, slice, range, sequence of int or ndarray of int, shape (n,)
            Which, none negative, in any order, repeats allowed; None for all.

        Returns
        -------
        ndarray, shape (rows, columns)
            In C order; one row is still two-dimensional.

        Raises
        ------
        RowRangeError
            If an index is outside the matrix.
        BlockMissingError
            If a block that is touched is not stored; ``context["blocks"]`` lists all of them.
        CorruptBlockError
            If the bytes of a strip that is touched are damaged.
        """
        down = resolve(rows, self.shape[0], "rows")
        across = resolve(columns, self.shape[1], "columns")
        if isinstance(down, range):
            return self._read_ascending(down, across)
        order = np.argsort(down, kind="stable")
        if (order == np.arange(len(order))).all():
            return self._read_ascending(down, across)
        values = np.empty((len(down), len(across)), self.dtype)
        values[order] = self._read_ascending(down[order], across)
        return values

    def _read_ascending(self, rows: Indices, columns: Indices) -> NDArray[np.floating]:
        values = np.empty((len(rows), len(columns)), self.dtype)
        if not values.size:
            return values
        across = split_columns(columns, self.block_size)
        target, itemsize = memoryview(values).cast("B"), values.itemsize
        stride = len(columns) * itemsize
        for down in split_rows(rows, self.block_size):
            start = down.position * stride
            for part in across:
                try:
                    if part.scatter is None:
                        self._fill(down, part, (target, start + part.position * itemsize, stride))
                    else:
                        self._scatter(down, part, values)
                except FileNotFoundError:
                    blocks = set(self.missing_blocks(rows, columns)) or {(down.panel, part.panel)}
                    raise self._missing(blocks) from None
        return values

    def object_size(self, key: str) -> int:
        """Return the length of a stored object, which is as planned.

        See :meth:`BlockObjects.object_size`.

        Raises
        ------
        CorruptBlockError
            If the file has another length or a damaged index.
        """
        size = super().object_size(key)
        self._look_at(key, whole=False)
        return size

    def object_bytes(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes of a stored object whose checksums match, for Zarr over HTTP.

        See :meth:`BlockObjects.object_bytes`. A block is read whole and checked when it is first
        asked for; who reads single bytes of it could not do that.

        Raises
        ------
        CorruptBlockError
            If the block is damaged.
        """
        self._look_at(key, whole=True)
        return super().object_bytes(key, start, stop)

    def _look_at(self, key: str, *, whole: bool) -> None:
        """Refuse the object of a block that is damaged; one that is missing is not."""
        path, block = self._object_of(key)
        if block is None:
            return
        try:
            file = self._files.get(str(path), self.header, block[0])
            if whole:
                file.check()
        except (FileNotFoundError, NotADirectoryError):
            return
        except ValueError as error:
            raise self._corrupt(*block, str(error)) from error
        except OSError as error:
            with reporting("read", path):
                raise error from None

    def _fill(self, down: PanelRows, part: PanelColumns, out: RowBytes) -> None:
        path = f"{self._prefix}{down.panel}/{part.panel}"
        try:
            file = self._files.get(path, self.header, down.panel)
            file.read(down.rows, part.start * self._itemsize, part.width * self._itemsize, out)
        except FileNotFoundError:
            raise
        except ValueError as error:
            raise self._corrupt(down.panel, part.panel, str(error)) from error
        except OSError as error:
            with reporting("read", Path(path)):
                raise error from None

    def _scatter(self, down: PanelRows, part: PanelColumns, values: NDArray[np.floating]) -> None:
        if part.scatter is None:
            return
        where, picked = part.scatter
        read = np.empty((len(down.rows), part.width), self.dtype)
        self._fill(down, part, (memoryview(read).cast("B"), 0, part.width * self._itemsize))
        values[down.position : down.position + len(read), where] = read[:, picked]

    def missing_blocks(self, rows: Request = None, columns: Request = None) -> list[Block]:
        """List the blocks that a read would miss.

        Parameters
        ----------
        rows, columns : None, int, slice, range, sequence of int or ndarray of int, shape (n,)
            As for :meth:`read`.

        Returns
        -------
        list of tuple of int
            Canonical, sorted.
        """
        down = np.sort(np.asarray(resolve(rows, self.shape[0], "rows"), np.int64))
        across = split_columns(resolve(columns, self.shape[1], "columns"), self.block_size)
        touched = {
            self.header.canonical(part.panel, column.panel)
            for part in split_rows(down, self.block_size)
            for column in across
        }
        return sorted(block for block in touched if not self.has_block(*block))

    def diagonal(self) -> NDArray[np.floating]:
        """Read the entries (n, n).

        Returns
        -------
        ndarray, shape (min(N, M),)
            k(x, x) of every item when the matrix is symmetric.

        Raises
        ------
        BlockMissingError
            If a block of the diagonal is not stored.
        """
        length = min(self.shape)
        values = np.empty(length, self.dtype)
        blocks = range(-(-length // self.block_size))
        if missing := {(i, i) for i in blocks if not self.has_block(i, i)}:
            raise self._missing(missing)
        for i in blocks:
            start = i * self.block_size
            block = np.diagonal(self.read_block(i, i))[: length - start]
            values[start : start + len(block)] = block
        return values

    def array(self) -> zarr.Array[Any]:
        """Open the array with Zarr, for reading.

        Returns
        -------
        zarr.Array
            Raises ``ChunkNotFoundError`` for blocks that are missing.
        """
        return zarr.open_array(
            str(self.path), mode="r", zarr_format=3, config={"read_missing_chunks": False}
        )


def _refuse_foreign(path: Path) -> None:
    with reporting("create", path):
        try:
            names = sorted(e.name for e in path.iterdir() if not e.name.endswith(PARTIAL))
        except FileNotFoundError:
            return
    if names and METADATA not in names:
        raise StoreMismatchError(
            f"{path} is not empty and holds no Gram matrix (it has {names[0]}); give another path",
            path=str(path),
        )
