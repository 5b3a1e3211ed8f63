"""Taking a Gram matrix away under the eyes of its readers: renamed first, removed afterwards."""

import os
import shutil
import uuid
from pathlib import Path

from gramserve.errors import ConflictError
from gramserve.store.files import PARTIAL, lock, reporting
from gramserve.store.leftovers import sweep


class EvictedGram:
    """A Gram matrix that is being evicted.

    Between :meth:`take` and :meth:`remove` the matrix has a temporary name, so that nobody finds
    it and everything can still be undone. Files that readers have open stay readable for them.

    Parameters
    ----------
    path : Path
        Directory of the matrix.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doomed = path.with_name(f"{uuid.uuid4().hex}{PARTIAL}")
        self._descriptor = -1

    def take(self) -> None:
        """Rename the matrix away; no error when there is none."""
        with reporting("evict", self._path):
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
            # A sweep must not take it for the leftover of a dead process.
            if not lock(self._descriptor):
                raise ConflictError(f"somebody else is evicting {self._path}")
            self._path.rename(self._doomed)

    def restore(self) -> None:
        """Give the matrix its name back, unless a new one has it."""
        if self._doomed.exists() and not self._path.exists():
            with reporting("restore", self._path):
                self._doomed.rename(self._path)
        self._let_go()

    def remove(self) -> None:
        """Remove the files for good."""
        shutil.rmtree(self._doomed, ignore_errors=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sweep_evicted(grams: Path) -> int:
    """Remove matrices whose eviction was interrupted after they had lost their name.

    Parameters
    ----------
    grams : Path
        Directory of the matrices.

    Returns
    -------
    int
        How many.
    """
    return sweep(grams)
