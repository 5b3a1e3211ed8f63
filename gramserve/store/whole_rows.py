"""Whole single rows, at the cost of one positioned read per block: what servers are asked most.

:meth:`GramStore.read` takes any rows and columns and looks at every file each time; this takes
one whole row, keeps the files of its panel at hand and looks at them once a second, and keeps
the rows that were read last: those who train on a matrix ask for the same rows again and again.
"""

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from gramserve.store.gram import GramStore
from gramserve.store.shard_files import ShardFile, ShardFiles

TRUSTED_S = 1.0
"""Seconds that a panel's files are taken to be those that were opened."""


@dataclass(slots=True)
class _Panel:
    """The open files of a panel of rows."""

    files: tuple[tuple[ShardFile, int], ...]
    """In the order of the columns, with the bytes of a row in each."""
    seen: float
    """When they were looked at, monotonic seconds."""
    mark: object = field(default_factory=object)
    """What rows read from these files are marked with; a row must not keep the files open."""


class WholeRows:
    """Reads single rows of any Gram matrices; safe to share between threads.

    Parameters
    ----------
    max_files : int
        Files kept open at most; the panels used least recently are closed first.
    max_bytes : int
        Bytes of rows kept in memory at most; 0 keeps none.

    Notes
    -----
    A block that is removed or replaced is noticed within a second; until then its row is the one
    that was stored before, which the open file keeps.
    """

    def __init__(self, max_files: int = 256, max_bytes: int = 0) -> None:
        self._files = ShardFiles(max_files)
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._held_files = 0
        self._held_bytes = 0
        self._panels: OrderedDict[tuple[str, int], _Panel] = OrderedDict()
        self._rows: OrderedDict[tuple[str, int], tuple[object, bytes]] = OrderedDict()
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
        path = str(gram.path)
        panel = self._panels.get((path, number))
        if panel is None or time.monotonic() - panel.seen > TRUSTED_S:
            panel = self._look(gram, path, number)
        with self._lock:
            kept = self._rows.get((path, row))
            if kept is not None and kept[0] is panel.mark:
                self._rows.move_to_end((path, row))
                return kept[1]
        content = _read(panel, inside)
        if len(content) <= self._max_bytes:
            self._keep((path, row), panel, content)
        return content

    def _keep(self, key: tuple[str, int], panel: _Panel, content: bytes) -> None:
        with self._lock:
            before = self._rows.pop(key, None)
            self._held_bytes += len(content) - (0 if before is None else len(before[1]))
            self._rows[key] = panel.mark, content
            while self._held_bytes > self._max_bytes:
                _, (_, oldest) = self._rows.popitem(last=False)
                self._held_bytes -= len(oldest)

    def _look(self, gram: GramStore, path: str, number: int) -> _Panel:
        width = gram.dtype.itemsize
        across = -(-gram.shape[1] // gram.block_size)
        files = tuple(
            (
                self._files.get(f"{path}/c/{number}/{j}", gram.header, number),
                width * gram.header.extent(number, j)[1],
            )
            for j in range(across)
        )
        key = path, number
        with self._lock:
            before = self._panels.pop(key, None)
            if before is not None and _are_same(before.files, files):
                before.seen = time.monotonic()
                self._panels[key] = before
                return before
            panel = _Panel(files, time.monotonic())
            self._held_files += len(files) - (0 if before is None else len(before.files))
            self._panels[key] = panel
            while self._held_files > self._max_files and len(self._panels) > 1:
                _, oldest = self._panels.popitem(last=False)
                self._held_files -= len(oldest.files)
        return panel


def _read(panel: _Panel, inside: int) -> bytes:
    parts = []
    for file, length in panel.files:
        descriptor, offset = file.place(inside)
        part = os.pread(descriptor, length, offset)
        if len(part) != length:
            raise ValueError("the file was cut short while it was read")
        parts.append(part)
    return b"".join(parts)


def _are_same(
    before: tuple[tuple[ShardFile, int], ...], now: tuple[tuple[ShardFile, int], ...]
) -> bool:
    return all(old is new for (old, _), (new, _) in zip(before, now, strict=True))
