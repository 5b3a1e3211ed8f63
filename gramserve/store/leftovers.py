"""What writers that died left behind."""

import os
import shutil
from pathlib import Path

from gramserve.store.files import PARTIAL, lock, reporting


def sweep(folder: Path) -> int:
    """Remove what dead writers left in a folder.

    Parameters
    ----------
    folder : Path
        Not searched deeper; it may be missing.

    Returns
    -------
    int
        How many leftovers were removed. Those of living writers stay.
    """
    swept = 0
    with reporting("sweep", folder):
        try:
            leftovers = [entry for entry in folder.iterdir() if entry.name.endswith(PARTIAL)]
        except (FileNotFoundError, NotADirectoryError):
            return 0
        for leftover in leftovers:
            swept += _sweep_one(leftover)
    return swept


def _sweep_one(leftover: Path) -> bool:
    try:
        descriptor = os.open(leftover, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # its writer has just finished
    try:
        if not lock(descriptor):
            return False
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return True
