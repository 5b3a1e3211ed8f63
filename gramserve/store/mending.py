"""Mending a data set with a copy of its items: what is damaged is replaced, nothing else."""

from collections.abc import Iterable
from pathlib import Path

from gramserve.errors import StoreNotFoundError
from gramserve.store.files import reporting
from gramserve.store.item_array import ItemArray


def mend_arrays(stored: Path, copy: Path, names: Iterable[str]) -> int:
    """Replace the runs of some arrays that are missing or damaged by those of equal ones.

    Parameters
    ----------
    stored : Path
        Directory of arrays of which every byte is read and checked.
    copy : Path
        Directory of arrays of the same values, on the same file system; their runs are moved.
    names : iterable of str
        Of the arrays.

    Returns
    -------
    int
        How many runs were replaced.

    Raises
    ------
    StorageFullError
        If there is no space.
    """
    return sum(_mend(stored / name, copy / name) for name in names)


def _mend(stored: Path, copy: Path) -> int:
    try:
        mended, whole = ItemArray.open(stored), ItemArray.open(copy)
    except StoreNotFoundError:
        return 0
    if (mended.shape, mended.dtype, mended.run) != (whole.shape, whole.dtype, whole.run):
        return 0  # written by a version that cut runs otherwise
    damaged = mended.damaged_runs()
    for number in damaged:
        path = mended.object_path(number)
        with reporting("mend", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.object_path(number).replace(path)
    return len(damaged)
