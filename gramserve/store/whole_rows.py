"""Whole single rows, at the cost of one positioned read per block: what servers are asked most.

:meth:`GramStore.read` takes any rows and columns and looks at every file each time; this takes
one whole row, keeps the files of its panel at hand and looks at them once a second.
"""

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from gramserve.store.gram import GramStore
from gramserve.store.shard_files import ShardFile, ShardFiles

TRUSTED_S = 1.0
"""Seconds that a panel's files are taken to be those that were opened."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """The open files of a panel of rows."""

    files: tuple[tuple[ShardFile, int], ...]
    """In the order of the columns, with the bytes of a row in each."""
    seen: float
    """When they were looked at, monotonic seconds."""


class WholeRows:
    """Reads single rows of any Gram matrices; safe to share between threads.

    Parameters
    ----------
    max_files : int
        Files kept open at most; the panels used least recently are closed first.

    Notes
    -----
    A block that is removed or replaced is noticed within a second; until then its row is the one
    that was stored before, which the open file keeps.
    """

    def __init__(self, max_files: int = 256) -> None:
        self._files = ShardFiles(max_files)
        self._max_files = max_files
        self._held = 0
        self._panels: OrderedDict[tuple[str, int], _Panel] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, gram: GramStore, row: int) -> bytes:
        """Return the bytes of a row.

        Parameters
        ----------
        gram : GramStore
            What is read.
        row : int
            Which row, inside the matrix.

        Returns
        -------
        bytes
            Little-endian, as :meth:`GramStore.read` would give it.

        Raises
        ------
        FileNotFoundError
            If a block is not stored.
        ValueError
            If bytes are damaged.
        """
        number, inside = divmod(row, gram.block_size)
        key = (str(gram.path), number)
        panel = self._panels.get(key)
        if panel is None or time.monotonic() - panel.seen > TRUSTED_S:
            panel = self._look(gram, key)
        parts = []
        for file, length in panel.files:
            descriptor, offset = file.place(inside)
            part = os.pread(descriptor, length, offset)
            if len(part) != length:
                raise ValueError("the file was cut short while it was read")
            parts.append(part)
        return b"".join(parts)

    def _look(self, gram: GramStore, key: tuple[str, int]) -> _Panel:
        path, number = key
        width = gram.dtype.itemsize
        across = -(-gram.shape[1] // gram.block_size)
        files = tuple(
            (
                self._files.get(f"{path}/c/{number}/{j}", gram.header, number),
                width * gram.header.extent(number, j)[1],
            )
            for j in range(across)
        )
        panel = _Panel(files, time.monotonic())
        with self._lock:
            before = self._panels.pop(key, None)
            self._held += len(files) - (0 if before is None else len(before.files))
            self._panels[key] = panel
            while self._held > self._max_files and len(self._panels) > 1:
                _, oldest = self._panels.popitem(last=False)
                self._held -= len(oldest.files)
        return panel
