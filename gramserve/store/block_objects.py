"""The stored objects of a Gram matrix: one whole Zarr shard for every block."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import BlockMissingError, CorruptBlockError, StoreNotFoundError
from gramserve.plan import BlockMap, Grid
from gramserve.store.block_faults import block_damaged, blocks_missing
from gramserve.store.block_values import check_block
from gramserve.store.files import StagedFile, read_range, reporting
from gramserve.store.header import METADATA, GramHeader
from gramserve.store.leftovers import sweep
from gramserve.store.shards import checksum_of

Block = tuple[int, int]
"""Panel of the rows, panel of the columns."""

_BLOCK_KEY = re.compile(r"c/(0|[1-9][0-9]{0,9})/(0|[1-9][0-9]{0,9})")


class BlockObjects:
    """Blocks of one Gram matrix as files: written, listed, checked, removed.

    Parameters
    ----------
    path : Path
        Directory of the array.
    header : GramHeader
        What it holds.
    """

    def __init__(self, path: Path, header: GramHeader) -> None:
        self.path = Path(path)
        self.header = header
        self._prefix = f"{self.path}/c/"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian float32 or float64."""
        return self.header.dtype

    @property
    def block_size(self) -> int:
        """Rows and columns of a block."""
        return self.header.block_size

    @property
    def symmetric(self) -> bool:
        """Whether block (j, i) is the transpose of block (i, j)."""
        return self.header.symmetric

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What the matrix is, as given to :meth:`create`."""
        return self.header.attributes

    @property
    def block_count(self) -> int:
        """Blocks to compute: the upper triangle of a symmetric matrix."""
        return self.header.block_count

    def write_block(self, i: int, j: int, values: ArrayLike) -> str:
        """Write one block, and its mirror when the matrix is symmetric.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.
        values : array_like, shape :meth:`GramHeader.extent`
            The part of the block that lies inside the matrix, in float32 or float64. Of a
            block on the diagonal of a symmetric matrix the upper triangle is stored twice.

        Returns
        -------
        str
            Checksum of the stored block (i, j) with ``i <= j``.

        Raises
        ------
        RowRangeError
            If there is no such block.
        StoreMismatchError
            If the values have another shape, or a diagonal block is far from symmetric.
        NonFiniteKernelError
            If a value is NaN or infinite; nothing is written.
        StorageFullError
            If there is no space; nothing is written.

        Notes
        -----
        Both objects are complete on disk before either gets its name, so running out of space
        leaves what was there. The mirror is named first: where block (i, j) exists so does its
        mirror, unless somebody removed it.
        """
        block = check_block(self.header, i, j, values)
        i, j = self.header.canonical(i, j)
        parts = self.header.layout.encode(block)
        with StagedFile(self.object_path(i, j), parts) as staged:
            if self.symmetric and i != j:
                transpose = self.header.layout.encode(block.T)
                with StagedFile(self.object_path(j, i), transpose) as mirror:
                    mirror.commit()
            staged.commit()
        return checksum_of(parts)

    def drop_block(self, i: int, j: int) -> bool:
        """Remove one block and its mirror.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.

        Returns
        -------
        bool
            Whether there was anything to remove.
        """
        dropped = False
        for path in self._objects(i, j):
            with reporting("remove", path):
                dropped |= path.exists()
                path.unlink(missing_ok=True)
        return dropped

    def sweep(self) -> int:
        """Remove the temporary files of writers that died.

        Returns
        -------
        int
            How many.
        """
        folders = [self.path, *self._panel_folders()]
        return sum(sweep(folder) for folder in folders)

    def stored_blocks(self) -> set[Block]:
        """List the blocks that are stored.

        Returns
        -------
        set of tuple of int
            Canonical blocks (``i <= j`` when symmetric) of which every object exists, whether or
            not its checksums hold. Linear in the number of blocks.
        """
        return set(self.stored_map())

    def stored_map(self) -> BlockMap:
        """List the blocks that are stored, as a bitmap.

        Returns
        -------
        BlockMap
            What :meth:`stored_blocks` returns; a million blocks take a quarter of a megabyte
            while they are listed.
        """
        grid = Grid(*self.shape, self.block_size, self.symmetric)
        found = BlockMap(grid)
        mirrors = BlockMap(grid) if self.symmetric else None
        for folder in self._panel_folders():
            i = int(folder.name)
            with reporting("list", folder):
                names = os.listdir(folder)  # noqa: PTH208 - a million paths take seconds
            for name in names:
                if not name.isdecimal():
                    continue
                j = int(name)
                if mirrors is None or i <= j:
                    found.add((i, j))
                if mirrors is not None and i >= j:
                    mirrors.add((j, i))
        return found if mirrors is None else found & mirrors

    def planned_blocks(self) -> Iterator[Block]:
        """Go through all canonical blocks, stored or not.

        Yields
        ------
        tuple of int
            Row by row; ``i <= j`` when symmetric.
        """
        down, across = self.header.panels
        for i in range(down):
            for j in range(i if self.symmetric else 0, across):
                yield i, j

    def has_block(self, i: int, j: int) -> bool:
        """Whether every object of a block exists.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.

        Returns
        -------
        bool
            Checksums are not looked at.
        """
        return all(path.is_file() for path in self._objects(i, j))

    def read_block(self, i: int, j: int) -> NDArray[np.floating]:
        """Read one block, checking every checksum.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns; below the diagonal of a symmetric matrix
            the mirror is read.

        Returns
        -------
        ndarray
            The part of the block that lies inside the matrix.

        Raises
        ------
        BlockMissingError
            If it is not stored.
        CorruptBlockError
            If its bytes are damaged.
        """
        return self._decode(i, j)[0]

    def verify_block(self, i: int, j: int) -> str:
        """Read every byte of a block and of its mirror and check them.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.

        Returns
        -------
        str
            Checksum of the block, as :meth:`write_block` returned it.

        Raises
        ------
        BlockMissingError
            If one of its objects is missing.
        CorruptBlockError
            If lengths, index or checksums are wrong, a value is not finite, or the mirror is
            not the transpose; names the block and the file.
        """
        i, j = self.header.canonical(i, j)
        values, shard = self._decode(i, j)
        if not np.isfinite(values).all():
            raise self._corrupt(i, j, "it holds values that are not finite")
        if self.symmetric and not np.array_equal(self._decode(j, i)[0], values.T):
            raise self._corrupt(j, i, f"it is not the transpose of block ({i}, {j})")
        return checksum_of([shard])

    def check_object(self, i: int, j: int) -> None:
        """Read the file of one block, not of its mirror, and compare its checksums.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns, in either triangle.

        Raises
        ------
        BlockMissingError
            If it is not stored.
        CorruptBlockError
            If its length, its index or a strip is damaged.
        """
        self._decode(i, j)

    def _decode(self, i: int, j: int) -> tuple[NDArray[np.floating], bytes]:
        rows, columns = self.header.extent(i, j)
        path = self.object_path(i, j)
        with reporting("read", path):
            try:
                # Not the open file of an earlier read: what the disk has now is asked for.
                shard = path.read_bytes()
            except FileNotFoundError:
                raise self._missing({(i, j)}) from None
        try:
            return self.header.layout.decode(shard, rows, columns), shard
        except ValueError as error:
            raise self._corrupt(i, j, str(error)) from error

    def object_size(self, key: str) -> int:
        """Return the length of a stored object.

        Parameters
        ----------
        key : str
            ``"zarr.json"`` or ``"c/I/J"``.

        Returns
        -------
        int
            Bytes.

        Raises
        ------
        StoreNotFoundError
            If the array can have no such object.
        BlockMissingError
            If the block is planned but not stored.
        """
        path, block = self._object_of(key)
        with reporting("read", path):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                raise self._absent(key, block) from None

    def object_bytes(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes of a stored object, for Zarr over HTTP.

        Parameters
        ----------
        key : str
            ``"zarr.json"`` or ``"c/I/J"``.
        start, stop : int
            Half-open range of bytes, not negative; to the end by default.

        Returns
        -------
        bytes
            Fewer than asked for where the object ends.

        Raises
        ------
        StoreNotFoundError
            If the array can have no such object.
        BlockMissingError
            If the block is planned but not stored.
        """
        path, block = self._object_of(key)
        with reporting("read", path):
            try:
                return read_range(path, start, stop)
            except (FileNotFoundError, NotADirectoryError):
                raise self._absent(key, block) from None

    def _object_of(self, key: str) -> tuple[Path, Block | None]:
        if key == METADATA:
            return self.path / METADATA, None
        down, across = self.header.panels
        match = _BLOCK_KEY.fullmatch(key)
        if match is None or int(match[1]) >= down or int(match[2]) >= across:
            raise StoreNotFoundError(f"a Gram matrix has no object {key!r}", key=key)
        block = int(match[1]), int(match[2])
        return self.object_path(*block), block

    def _absent(self, key: str, block: Block | None) -> StoreNotFoundError | BlockMissingError:
        if block is None:
            return StoreNotFoundError(f"no {key} in {self.path}", key=key)
        return self._missing({block})

    def object_path(self, i: int, j: int) -> Path:
        """Return where an object lies, whether or not it exists.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns, in either triangle.

        Returns
        -------
        Path
            One file.
        """
        return Path(f"{self._prefix}{i}/{j}")

    def _objects(self, i: int, j: int) -> list[Path]:
        self.header.extent(i, j)
        mirror = [self.object_path(j, i)] if self.symmetric and i != j else []
        return [self.object_path(i, j), *mirror]

    def _panel_folders(self) -> list[Path]:
        folder = self.path / "c"
        with reporting("list", folder):
            try:
                return [entry for entry in folder.iterdir() if entry.name.isdecimal()]
            except FileNotFoundError:
                return []

    def _missing(self, blocks: set[Block]) -> BlockMissingError:
        return blocks_missing(self.header, blocks)

    def _corrupt(self, i: int, j: int, reason: str) -> CorruptBlockError:
        return block_damaged(self.object_path(i, j), self.header.canonical(i, j), (i, j), reason)
