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
    return SharedUse(uses).bytes


class SharedUse:
    """Several directories that share files, some of which may be removed.

    Parameters
    ----------
    uses : iterable of DiskUse
        From :func:`measure`.
    """

    def __init__(self, uses: Iterable[DiskUse]) -> None:
        self._uses = list(uses)
        lengths = [len(use.shared) for use in self._uses]
        self._ends = np.cumsum(lengths, dtype=np.int64)
        rows = np.concatenate([np.empty((0, 3), np.uint64), *(use.shared for use in self._uses)])
        files, self._file = np.unique(rows, axis=0, return_inverse=True)
        self._sizes = files[:, 2].astype(np.int64)
        self._names = np.bincount(self._file, minlength=len(files))
        self.bytes = sum(use.sole_bytes for use in self._uses) + int(self._sizes.sum())

    def freed_by(self, number: int) -> int:
        """Return what removing one directory would free.

        Parameters
        ----------
        number : int
            Its place among the directories.

        Returns
        -------
        int
            Bytes of files that no directory that is left names too.
        """
        files = self._files_of(number)
        lone = files[self._names[files] == 1]
        return self._uses[number].sole_bytes + int(self._sizes[lone].sum())

    def remove(self, number: int) -> int:
        """Count one directory as removed.

        Parameters
        ----------
        number : int
            Its place among the directories; each is removed once.

        Returns
        -------
        int
            Bytes that this frees.
        """
        freed = self.freed_by(number)
        self._names[self._files_of(number)] -= 1
        self.bytes -= freed
        return freed

    def _files_of(self, number: int) -> NDArray[np.intp]:
        end = int(self._ends[number])
        return self._file[end - len(self._uses[number].shared) : end]
