"""The items along one side of a Gram matrix, and where those of another one lie among them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.store.datasets import DatasetStore
from gramserve.store.items import DIGEST_BYTES, item_digests, stored_dtype

_KEPT = 8
_RUN_BYTES = 4 * 2**20

Positions = NDArray[np.int64]
"""Places of items on another axis; -1 for those that are not there."""


@dataclass(frozen=True, eq=False)
class ItemAxis:
    """Items in their order, known by the digests of their bytes."""

    keys: NDArray[np.bytes_]
    """SHA-256 of every item, S32."""
    item_shape: tuple[int, ...]
    """Shape of one item."""
    dtype: str
    """NumPy name: equal bytes are equal numbers only in one dtype."""

    def __len__(self) -> int:
        return len(self.keys)

    def is_comparable(self, other: "ItemAxis") -> bool:
        """Whether equal keys mean equal items on both axes."""
        return (self.item_shape, self.dtype) == (other.item_shape, other.dtype)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        heads = _heads(self.keys)
        order = np.argsort(heads, kind="stable")
        return heads[order], order

    def find(self, other: "ItemAxis", panel: int) -> Positions:
        """Say where the items of another axis lie on this one.

        Parameters
        ----------
        other : ItemAxis
            Whose items are looked for.
        panel : int
            Items that are wanted together: where a run of so many lies here in the same order,
            it is found as a run, also when some of its items are here twice.

        Returns
        -------
        ndarray of int64, shape (len(other),)
            The place of each item here, -1 where there is none.
        """
        if not self.is_comparable(other) or not len(self):
            return np.full(len(other), -1, np.int64)
        if other is self:
            return np.arange(len(self))
        heads, order = self._sorted
        slots = np.searchsorted(heads, _heads(other.keys))
        places = order[np.minimum(slots, len(self) - 1)].astype(np.int64)
        # Two items whose digests begin alike would hide each other, and be computed anew.
        places[self.keys[places] != other.keys] = -1
        for start in range(0, len(other), panel):
            self._prefer_run(other.keys[start : start + panel], places[start : start + panel])
        return places

    def _prefer_run(self, keys: NDArray[np.bytes_], places: Positions) -> None:
        count = len(keys)
        if (places < 0).any() or (np.diff(places) == 1).all():
            return
        for start in {int(places[0]), int(places[-1]) - count + 1}:
            if start >= 0 and np.array_equal(self.keys[start : start + count], keys):
                places[:] = np.arange(start, start + count)
                return


def _heads(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Return the first eight bytes of digests: numbers are found ten times as fast as strings."""
    return np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), -1)[:, 0].copy()


def axis_of(items: NDArray[Any]) -> ItemAxis:
    """Return items that are not stored as an axis.

    Parameters
    ----------
    items : ndarray, shape (n, ...)
        Of any real dtype; read a few at a time, so that a memory map may be larger than memory.

    Returns
    -------
    ItemAxis
        The one that a data set of these items has.
    """
    dtype = stored_dtype(items.dtype)
    step = max(1, _RUN_BYTES // max(1, items[:1].nbytes))
    parts = [
        item_digests(np.ascontiguousarray(items[start : start + step], dtype))
        for start in range(0, len(items), step)
    ]
    keys = np.concatenate(parts).view(f"S{DIGEST_BYTES}").reshape(-1)
    return ItemAxis(keys, tuple(items.shape[1:]), dtype.name)


@lru_cache(maxsize=_KEPT)
def read_axis(root: Path, digest: str) -> ItemAxis:
    """Return the items of a data set; the last few are kept, data sets never change.

    Parameters
    ----------
    root : Path
        Directory of the data sets.
    digest : str
        Which one.

    Returns
    -------
    ItemAxis
        Their keys, without the items.

    Raises
    ------
    StoreNotFoundError
        If there is no such data set.
    CorruptBlockError
        If its keys are damaged.
    """
    datasets = DatasetStore(root)
    record = datasets.info(digest)
    return ItemAxis(datasets.item_keys(digest), tuple(record.shape[1:]), record.dtype)
