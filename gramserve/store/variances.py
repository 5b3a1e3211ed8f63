"""Variances: the self-kernels of all items, one row per item, computed once per network."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gramserve.errors import (
    BlockMissingError,
    NonFiniteKernelError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.spec import KERNEL_CODE_VERSION, digest_of
from gramserve.store.files import remove_directory
from gramserve.store.item_array import ItemArray
from gramserve.store.leftovers import sweep

FORMAT = "gramserve.variances/1"
"""Version of the stored form and of the keys."""

_KEY = re.compile(r"[0-9a-f]{64}")


class VarianceStore:
    """The variances of a state directory, each a Zarr array ``(items, V)``.

    Parameters
    ----------
    root : Path or str
        Directory of the arrays.

    Notes
    -----
    Items are cut into segments; a segment is one file and has one writer at a time, and
    writers of different segments do not wait for each other.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @staticmethod
    def key(dataset: str, network: str, precision: str, engine: str) -> str:
        """Return what names the variances of a data set under a network.

        Parameters
        ----------
        dataset : str
            Digest of the data set.
        network : str
            Digest of input and layers, whichever kernel is asked for.
        precision : {"float32", "mixed", "float64"}
            How they are computed.
        engine : str
            Which engine lays them out.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return digest_of(
            {
                "format": FORMAT,
                "code": KERNEL_CODE_VERSION,
                "dataset": dataset,
                "network": network,
                "precision": precision,
                "engine": engine,
            }
        )

    def create(self, key: str, *, items: int, length: int, dtype: DTypeLike, segment: int) -> None:
        """Create an array without segments, unless it exists.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        items : int
            How many items.
        length : int
            Numbers per item, V.
        dtype : dtype
            float32 or float64.
        segment : int
            Items of a segment; an array that exists keeps its own.

        Raises
        ------
        StoreMismatchError
            If an array of another shape or dtype has that key.
        """
        if np.dtype(dtype).kind != "f":
            raise StoreMismatchError(f"variances are floating-point numbers, not {np.dtype(dtype)}")
        ItemArray.create(
            self._path(key),
            shape=(items, length),
            dtype=dtype,
            run=segment,
            attributes={"gramserve": {"format": FORMAT}},
        )

    def has(self, key: str) -> bool:
        """Whether an array was created.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        """
        try:
            self._open(key)
        except StoreNotFoundError:
            return False
        return True

    def segment_range(self, key: str, segment: int) -> tuple[int, int]:
        """Return the items of a segment.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        segment : int
            Which segment.

        Returns
        -------
        tuple of int
            Half-open.
        """
        return self._open(key).run_range(segment)

    def segment_count(self, key: str) -> int:
        """Return how many segments there are.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        """
        return self._open(key).runs

    def write_segment(self, key: str, segment: int, values: NDArray[Any]) -> None:
        """Write one segment, whole or not at all.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        segment : int
            Which segment.
        values : ndarray, shape (items of the segment, V)
            Cast to the dtype of the array.

        Raises
        ------
        NonFiniteKernelError
            If a value is not finite; nothing is written.
        StorageFullError
            If there is no space; nothing is written.
        """
        array = self._open(key)
        start, _ = array.run_range(segment)
        with np.errstate(over="ignore"):  # found and named below
            stored = np.asarray(values).astype(array.dtype, copy=False)
        finite = np.isfinite(stored)
        if not finite.all():
            place = np.argwhere(~finite)[0]
            raise NonFiniteKernelError(
                f"the variances of item {start + int(place[0])} hold {stored[tuple(place)]}; they "
                "are not stored",
                item=start + int(place[0]),
            )
        array.write_run(segment, stored)

    def missing_segments(self, key: str) -> list[int]:
        """List the segments that are not stored.

        Parameters
        ----------
        key : str
            From :meth:`key`.

        Returns
        -------
        list of int
            Ascending.
        """
        return self._open(key).missing_runs()

    def damaged_segments(self, key: str, start: int = 0, stop: int | None = None) -> list[int]:
        """List the segments of a range of items that are missing or damaged.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        start, stop : int
            Half-open range of items; to the end by default.

        Returns
        -------
        list of int
            Ascending; every byte of the others was read.
        """
        return self._open(key).damaged_runs(start, stop)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> NDArray[np.floating]:
        """Read the variances of a range of items.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        start, stop : int
            Half-open range of items; to the end by default.

        Returns
        -------
        ndarray, shape (stop - start, V)
            Never of a segment that is not stored.

        Raises
        ------
        BlockMissingError
            If a segment is not stored; ``context["segments"]`` lists all that are missing.
        CorruptBlockError
            If bytes are damaged.
        """
        try:
            return self._open(key).read(start, stop)
        except BlockMissingError as error:
            missing = error.context["runs"]
            raise BlockMissingError(
                f"{len(missing)} segments of the variances {key[:12]} are not computed yet",
                segments=missing,
            ) from None

    def drop_segment(self, key: str, segment: int) -> None:
        """Remove one segment, to be computed again.

        Parameters
        ----------
        key : str
            From :meth:`key`.
        segment : int
            Which segment.
        """
        self._open(key).drop_run(segment)

    def delete(self, key: str) -> bool:
        """Remove an array.

        Parameters
        ----------
        key : str
            From :meth:`key`.

        Returns
        -------
        bool
            Whether there was one.
        """
        return remove_directory(self._path(key))

    def sweep(self) -> int:
        """Remove the temporary files of writers that died.

        Returns
        -------
        int
            How many.
        """
        if not self.root.is_dir():
            return 0
        arrays = [entry for entry in self.root.iterdir() if _KEY.fullmatch(entry.name)]
        segments = [folder for array in arrays for folder in (array / "c").glob("*")]
        return sum(sweep(folder) for folder in (self.root, *arrays, *segments))

    def _open(self, key: str) -> ItemArray:
        try:
            return ItemArray.open(self._path(key))
        except StoreNotFoundError:
            raise StoreNotFoundError(f"no variances {key!r}", key=key) from None

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreNotFoundError(f"no variances {key!r}", key=key)
        return self.root / key
