"""How many bytes directories occupy, files with several names counted once."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 512


@dataclass(frozen=True, eq=False)
class DiskUse:
    """The files of one directory."""

    sole_bytes: int
    """Of files that have no other name anywhere."""
    shared: NDArray[np.uint64]
    """Device, inode and bytes of every file with further names, shape (files, 3)."""

    @property
    def bytes(self) -> int:
        """Of all files, whoever else names them."""
        return self.sole_bytes + int(self.shared[:, 2].sum())


def measure(folder: Path) -> DiskUse:
    """Look at all files under a directory.

    Parameters
    ----------
    folder : Path
        It may change or go away meanwhile.

    Returns
    -------
    DiskUse
        Bytes are those that the file system has set aside.
    """
    sole = 0
    shared: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(f"{place}/{name}")
            except OSError:
                continue
            size = status.st_blocks * _BLOCK_BYTES
            if status.st_nlink > 1:
                shared[status.st_dev, status.st_ino] = size
            else:
                sole += size
    rows = [(device, inode, size) for (device, inode), size in shared.items()]
    return DiskUse(sole, np.array(rows, np.uint64).reshape(-1, 3))


def occupied_bytes(uses: Iterable[DiskUse]) -> int:
    """Return what several directories occupy together.

    Parameters
    ----------
    uses : iterable of DiskUse
        From :func:`measure`.

    Returns
    -------
    int
        Bytes; a file that several of them name is counted once.
    """
    found = list(uses)
    total = sum(use.sole_bytes for use in found)
    parts = [use.shared for use in found if len(use.shared)]
    if not parts:
        return total
    distinct = np.unique(np.concatenate(parts), axis=0)
    return total + int(distinct[:, 2].sum())
