"""Reading rows out of the shard files of a local disk.

The index of a file is read once, every strip is checked once, when it is first touched, and from
then on a row is one positioned read of its own bytes. Positioned reads rather than a memory map:
they cost as much (within a fifth, for one row), let other threads run while the disk is slow,
and a file cut short under them is an error, where a map would end the process with SIGBUS.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from gramserve.store.header import GramHeader
from gramserve.store.shards import ShardLayout

_MOST_BUFFERS = 512
"""Buffers of one vectored read; the system allows 1024."""

RowBytes = tuple[memoryview, int, int]
"""Bytes of a result: the whole of it, where the first row begins, and bytes between rows."""

Identity = tuple[int, int, int]
"""Inode, modification time (ns) and size: what changes when a file is replaced."""


class ShardFile:
    """One open shard file.

    Parameters
    ----------
    path : str
        The file.
    layout : ShardLayout
        Where things are in it.
    rows : int
        Rows of the block that lie inside the matrix.

    Raises
    ------
    ValueError
        If the length is wrong or the index is damaged.
    """

    def __init__(self, path: str, layout: ShardLayout, rows: int) -> None:
        self._layout = layout
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.identity = _identity(status)
        if status.st_size != layout.shard_bytes(rows):
            raise ValueError(f"{status.st_size:,} bytes instead of {layout.shard_bytes(rows):,}")
        data_bytes = status.st_size - layout.index_bytes
        index = os.pread(self._descriptor, layout.index_bytes, data_bytes)
        self._offsets = layout.offsets(index, rows, data_bytes).tolist()
        self._row_bytes, self._height = layout.row_bytes, layout.rows_per_strip
        self._is_checked = [False] * len(self._offsets)

    def __del__(self) -> None:
        # A reader on another thread keeps the object, hence the file, until it is done.
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, rows: Sequence[int], start: int, width: int, out: RowBytes) -> None:
        """Read a run of columns of some rows.

        Parameters
        ----------
        rows : sequence of int
            Rows of the block, in any order.
        start, width : int
            First byte of the run inside a row, and its length.
        out : RowBytes
            Where the bytes go.

        Raises
        ------
        ValueError
            If a checksum does not match or the file is shorter than it was.
        """
        # A row of a large matrix comes through here once per block: a few calls, no arrays.
        target, position, stride = out
        row_bytes, height = self._row_bytes, self._height
        done = 0
        while done < len(rows):
            strip, row = divmod(rows[done], height)
            run = 1
            if width == row_bytes:  # rows that follow each other then do so in the file
                longest = min(len(rows) - done, height - row, _MOST_BUFFERS)
                while run < longest and rows[done + run] == rows[done] + run:
                    run += 1
            if not self._is_checked[strip]:
                self._check(strip)
            buffers = []
            for _ in range(run):
                buffers.append(target[position : position + width])
                position += stride
            offset = self._offsets[strip] + row * row_bytes + start
            if os.preadv(self._descriptor, buffers, offset) != run * width:
                raise ValueError("the file was cut short while it was read")
            done += run

    def place(self, row: int) -> tuple[int, int]:
        """Return where a row of the block lies, its strip checked.

        Parameters
        ----------
        row : int
            Row of the block.

        Returns
        -------
        (int, int)
            File descriptor, good as long as this object lives, and offset in bytes.

        Raises
        ------
        ValueError
            If the checksum of the strip does not match.
        """
        strip, inside = divmod(row, self._height)
        if not self._is_checked[strip]:
            self._check(strip)
        return self._descriptor, self._offsets[strip] + inside * self._row_bytes

    def check(self) -> None:
        """Check every strip that was not checked before.

        Raises
        ------
        ValueError
            If a checksum does not match.
        """
        for strip, is_checked in enumerate(self._is_checked):
            if not is_checked:
                self._check(strip)

    def _check(self, strip: int) -> None:
        length = self._layout.strip_bytes
        self._layout.decode_strip(os.pread(self._descriptor, length, self._offsets[strip]), strip)
        self._is_checked[strip] = True


class ShardFiles:
    """Shard files kept open, the least recently used closed first.

    Parameters
    ----------
    capacity : int
        Files open at once; processes are commonly allowed 1024 in all.

    Notes
    -----
    Block files are only ever replaced by a rename, so a file is reopened when inode, time of
    modification or size of its path differ from those of the open one. Safe to share between
    threads.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._files: OrderedDict[str, ShardFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._files)

    def get(self, path: str, header: GramHeader, panel: int) -> ShardFile:
        """Return the file of a block, opening it if need be.

        Parameters
        ----------
        path : str
            The file.
        header : GramHeader
            Of the matrix.
        panel : int
            Panel of the rows of the block.

        Returns
        -------
        ShardFile
            Of the content that the path has now.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged.
        """
        status = os.stat(path)  # noqa: PTH116 - once per block of every row
        with self._lock:
            file = self._files.get(path)
            if file is not None and file.identity == _identity(status):
                self._files.move_to_end(path)
                return file
        rows = min(header.block_size, header.shape[0] - panel * header.block_size)
        file = self._open(path, header.layout, rows)
        with self._lock:
            self._files[path] = file
            self._files.move_to_end(path)
            while len(self._files) > self._capacity:
                self._files.popitem(last=False)
        return file

    def _open(self, path: str, layout: ShardLayout, rows: int) -> ShardFile:
        try:
            return ShardFile(path, layout, rows)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            self.close()
            return ShardFile(path, layout, rows)

    def close(self) -> None:
        """Forget every file; those still being read close when their readers are done."""
        with self._lock:
            self._files.clear()


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_mtime_ns, status.st_size


OPEN_SHARDS = ShardFiles()
"""The open shard files of this process."""
