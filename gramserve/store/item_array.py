"""Arrays with one entry per item, cut into runs of items that are written one by one."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import BaseZarrError
from zarr.storage import MemoryStore

from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    RowRangeError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.store.checksums import CHECKSUM_BYTES, crc32c_bytes, is_intact
from gramserve.store.files import StagedFile, identity_of, reporting, write_file
from gramserve.store.header import METADATA


class ItemArray:
    """A Zarr array ``(items, *shape)``, each run of items one chunk with a crc32c.

    Parameters
    ----------
    path : Path
        Directory of the array; use :meth:`create` or :meth:`open`.
    shape : tuple of int
        Items first.
    dtype : dtype
        Little-endian.
    run : int
        Items of a run.
    attributes : mapping
        As given to :meth:`create`.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        run: int,
        attributes: Mapping[str, Any],
    ) -> None:
        self.path, self.shape, self.dtype, self.run = path, shape, dtype, run
        self.attributes = attributes

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        run: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> Self:
        """Create the array without runs, or open it if it exists.

        Parameters
        ----------
        path : Path
            Directory of the array.
        shape : tuple of int
            Items first, all at least 1.
        dtype : dtype
            Real; stored as little-endian.
        run : int
            Items of a run; an array that exists keeps its own.
        attributes : mapping, optional
            JSON.

        Returns
        -------
        ItemArray
            The new or the existing one.

        Raises
        ------
        StoreMismatchError
            If an array of another shape or dtype is there.
        """
        stored = np.dtype(dtype).newbyteorder("<")
        if min(shape) < 1 or run < 1:
            raise StoreMismatchError(
                f"an array of {shape} in runs of {run} cannot be stored: each must be at least 1"
            )
        if not (path / METADATA).exists():
            written: dict[str, Any] = {}
            zarr.create_array(
                store=MemoryStore(written),
                shape=shape,
                dtype=stored,
                chunks=(min(run, shape[0]), *shape[1:]),
                filters=None,
                compressors=[Crc32cCodec()],
                fill_value=float("nan") if stored.kind == "f" else 0,
                attributes=dict(attributes or {}),
            )
            with StagedFile(path / METADATA, [written[METADATA].to_bytes()]) as staged:
                staged.commit_new()
        found = cls.open(path)
        if (found.shape, found.dtype) != (shape, stored):
            raise StoreMismatchError(
                f"{path} holds {found.shape} of {found.dtype.name}, not {shape} of {stored.name}; "
                "remove it to write it anew",
                path=str(path),
            )
        return found

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an array.

        Parameters
        ----------
        path : Path
            Directory of the array.

        Returns
        -------
        ItemArray
            For reading and writing.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        CorruptBlockError
            If its metadata cannot be read or belong to an array of another kind.
        """
        if not (path / METADATA).is_file():
            raise StoreNotFoundError(f"no array at {path}", path=str(path))
        with reporting("open", path):
            try:
                array: Any = zarr.open_array(str(path), mode="r", zarr_format=3)
            except (ValueError, KeyError, TypeError, BaseZarrError) as error:
                raise CorruptBlockError(
                    f"cannot read {path / METADATA}: {error}", path=str(path / METADATA)
                ) from error
        shape: tuple[int, ...] = array.shape
        chunks: tuple[int, ...] = array.chunks
        codecs = array.metadata.codecs
        if (
            len(codecs) != 2
            or not isinstance(codecs[0], BytesCodec)
            or not isinstance(codecs[1], Crc32cCodec)
            or chunks[1:] != shape[1:]
        ):
            raise CorruptBlockError(
                f"{path} is stored with other codecs or chunks than gramserve writes",
                path=str(path),
            )
        dtype = np.dtype(array.dtype).newbyteorder("<")
        return cls(path, shape, dtype, chunks[0], array.attrs.asdict())

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Open as :meth:`open` does; reading the description again only when it was replaced.

        Parameters
        ----------
        path : Path
            Directory of the array.

        Returns
        -------
        ItemArray
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

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return -(-self.shape[0] // self.run)

    def run_range(self, number: int) -> tuple[int, int]:
        """Return the items of a run.

        Parameters
        ----------
        number : int
            Which run.

        Returns
        -------
        tuple of int
            Half-open.
        """
        if not 0 <= number < self.runs:
            raise RowRangeError(f"no run {number}: there are {self.runs}")
        return number * self.run, min(self.shape[0], (number + 1) * self.run)

    def write_run(self, number: int, values: NDArray[Any]) -> None:
        """Write one run, in place of what was there.

        Parameters
        ----------
        number : int
            Which run.
        values : ndarray, shape (items of the run, ...)
            Cast to the dtype of the array.

        Raises
        ------
        StoreMismatchError
            If the shape is wrong.
        StorageFullError
            If there is no space; what was there stays.
        """
        start, stop = self.run_range(number)
        expected = (stop - start, *self.shape[1:])
        if values.shape != expected:
            raise StoreMismatchError(
                f"run {number} of {self.path} has shape {expected}, not {values.shape}",
                path=str(self.path),
            )
        chunk = np.ascontiguousarray(values, self.dtype)
        if stop - start < self.run:  # Zarr stores the last chunk as long as the others
            padding = np.zeros((self.run - (stop - start), *self.shape[1:]), self.dtype)
            chunk = np.concatenate([chunk, padding])
        data = memoryview(chunk).cast("B")
        write_file(self.object_path(number), [data, crc32c_bytes(data)])

    def drop_run(self, number: int) -> None:
        """Remove one run, if it is there.

        Parameters
        ----------
        number : int
            Which run.
        """
        self.run_range(number)
        path = self.object_path(number)
        with reporting("remove", path):
            path.unlink(missing_ok=True)

    def missing_runs(self) -> list[int]:
        """List the runs that are not stored.

        Returns
        -------
        list of int
            Ascending. Checksums are not looked at.
        """
        with reporting("list", self.path):
            try:
                names = {entry.name for entry in (self.path / "c").iterdir()}
            except FileNotFoundError:
                names = set()
        return [
            number
            for number in range(self.runs)
            if str(number) not in names or not self.object_path(number).is_file()
        ]

    def damaged_runs(self, start: int = 0, stop: int | None = None) -> list[int]:
        """List the runs of a range of items that are missing or damaged.

        Parameters
        ----------
        start, stop : int
            Half-open range of items; to the end by default.

        Returns
        -------
        list of int
            Ascending; every byte of the others was read and is right.
        """
        stop = self.shape[0] if stop is None else stop
        found: list[int] = []
        for number in range(start // self.run, -(-stop // self.run)):
            try:
                self._read_run(number)
            except (BlockMissingError, CorruptBlockError):
                found.append(number)
        return found

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read items, checking the checksums of their runs.

        Parameters
        ----------
        start, stop : int
            Half-open; to the end by default.

        Returns
        -------
        ndarray, shape (stop - start, ...)
            A new array.

        Raises
        ------
        RowRangeError
            If the range is not inside the array.
        BlockMissingError
            If a run is not stored; ``context["runs"]`` lists all of them.
        CorruptBlockError
            If the bytes of a run are damaged.
        """
        stop = self.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= self.shape[0]:
            raise RowRangeError(
                f"items {start}:{stop} are not inside the {self.shape[0]} there are"
            )
        values = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for number in range(start // self.run, -(-stop // self.run) if stop > start else 0):
            origin = number * self.run
            first, last = max(start, origin), min(stop, origin + self.run)
            chunk = self._read_run(number)
            values[first - start : last - start] = chunk[first - origin : last - origin]
        return values

    def _read_run(self, number: int) -> NDArray[Any]:
        path = self.object_path(number)
        with reporting("read", path):
            try:
                chunk = path.read_bytes()
            except FileNotFoundError:
                missing = self.missing_runs()
                raise BlockMissingError(
                    f"{len(missing)} of {self.runs} runs of {self.path} are not written yet",
                    path=str(self.path),
                    runs=missing,
                ) from None
        shape = (self.run, *self.shape[1:])
        expected = int(np.prod(shape)) * self.dtype.itemsize + CHECKSUM_BYTES
        if len(chunk) != expected or not is_intact(chunk):
            reason = (
                f"{len(chunk):,} bytes instead of {expected:,}"
                if len(chunk) != expected
                else "the checksum does not match"
            )
            raise CorruptBlockError(f"{path} is damaged: {reason}", path=str(path), run=number)
        return np.frombuffer(chunk, self.dtype, int(np.prod(shape))).reshape(shape)

    def object_path(self, number: int) -> Path:
        """Return where a run lies, whether or not it exists.

        Parameters
        ----------
        number : int
            Which run.
        """
        return self.path.joinpath("c", str(number), *["0"] * (len(self.shape) - 1))
