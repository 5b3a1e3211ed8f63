"""Finding blocks that are damaged, and dropping them so that they are computed again.

A writer syncs a block before it names it, so a name should always have its content. Disks that
lie about syncing, copies that were cut short and bits that rot make exceptions, and a matrix that
is taken up again should not rest on one. Reading terabytes at every start would be worse, so what
was found whole is noted in one small file beside the blocks::

    inspected     "gramserve.inspected/1" LF | one uint64 for every place (i, j) | crc32c

The number is a hash of inode, time of modification and size of the block's files when they were
last read and found whole, 0 when they never were. A block whose files are still those is passed
over at the price of asking the file system for them; every other one is read and its checksums
are compared. Numbers are compared for equality only, so clocks may step as they like.
"""

import errno
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import BlockMissingError, CorruptBlockError, StoreError
from gramserve.store.block_objects import Block, BlockObjects
from gramserve.store.checksums import crc32c_bytes, is_intact
from gramserve.store.files import reporting, write_file

INSPECTED = "inspected"
"""Name of the file of notes in the directory of a matrix."""

_HEAD = b"gramserve.inspected/1\n"
_NOTE_EVERY_BYTES = 2**34
_Identity = tuple[int, ...]


def drop_damaged_blocks(
    gram: BlockObjects, should_stop: Callable[[], bool] = lambda: False
) -> list[Block]:
    """Check the stored blocks of a matrix that changed since they were last checked.

    Parameters
    ----------
    gram : GramStore
        May be written to meanwhile.
    should_stop : callable
        Asked before every block; True ends the inspection early, and what was not looked at is
        looked at the next time.

    Returns
    -------
    list of tuple of int
        Canonical blocks that were damaged in length, index or data, in one of their two files.
        They are removed, so that they count as missing.

    Notes
    -----
    Two questions to the file system for each block, a few microseconds; for blocks that were
    written since the last inspection their bytes once, at the speed of the disk.
    """
    notes = _Notes(gram)
    damaged: list[Block] = []
    unsaved = 0
    for block in _named_blocks(gram):
        if should_stop():
            break
        identity = _identity(gram, block)
        if identity is None or notes.holds(block, identity):
            continue
        if drop_if_damaged(gram, *block):
            damaged.append(block)
            continue
        notes.put(block, identity)
        unsaved += identity[2]
        if unsaved > _NOTE_EVERY_BYTES:
            notes.save()
            unsaved = 0
    notes.save()
    return damaged


def drop_if_damaged(gram: BlockObjects, i: int, j: int) -> bool:
    """Read one block and its mirror, and remove both if they are damaged or cannot be read.

    Parameters
    ----------
    gram : GramStore
        May be written to meanwhile.
    i, j : int
        Panel of the rows and of the columns.

    Returns
    -------
    bool
        Whether it was damaged, and is gone now; False for a block that is whole or missing.
    """
    block = gram.header.canonical(i, j)
    before = _identity(gram, block)
    if before is None:
        return False
    try:
        for place in _places(gram, block):
            gram.check_object(*place)
    except BlockMissingError:
        return False
    except (CorruptBlockError, StoreError) as error:
        if not isinstance(error, CorruptBlockError) and not _is_unreadable(error):
            raise
        # A whole block may have taken its place since; that one must stay.
        if _identity(gram, block) == before:
            gram.drop_block(*block)
            return True
    return False


def _is_unreadable(error: StoreError) -> bool:
    """Whether a disk fails to give the bytes: as good as damaged, and as little to be served."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO


def _places(gram: BlockObjects, block: Block) -> list[Block]:
    i, j = block
    return [(i, j), (j, i)] if gram.symmetric and i != j else [(i, j)]


def _named_blocks(gram: BlockObjects) -> Iterator[Block]:
    """Go through all places, but pass over panels that have no directory."""
    down, across = gram.header.panels
    for i in range(down):
        if gram.object_path(i, 0).parent.is_dir():
            for j in range(i if gram.symmetric else 0, across):
                yield i, j


def _identity(gram: BlockObjects, block: Block) -> _Identity | None:
    """Return what changes when a file of the block is replaced; None when one is missing."""
    found: _Identity = ()
    for i, j in _places(gram, block):
        path = f"{gram.path}/c/{i}/{j}"  # a Path costs more than the question
        try:
            status = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            return None
        except OSError as error:
            with reporting("read", Path(path)):
                raise error from None
        found += status.st_ino, status.st_mtime_ns, status.st_size
    return found


class _Notes:
    """The blocks of one matrix that were found whole."""

    def __init__(self, gram: BlockObjects) -> None:
        self._path = Path(gram.path) / INSPECTED
        self._panels = gram.header.panels
        self._marks = self._read()
        self._is_changed = False

    def _read(self) -> NDArray[np.uint64]:
        down, across = self._panels
        try:
            content = self._path.read_bytes()
        except OSError:
            content = b""
        length = len(_HEAD) + 8 * down * across + 4
        if len(content) != length or not content.startswith(_HEAD) or not is_intact(content):
            return np.zeros(down * across, np.uint64)
        return np.frombuffer(content, "<u8", down * across, len(_HEAD)).astype(np.uint64)

    def holds(self, block: Block, identity: _Identity) -> bool:
        """Whether the block was found whole and its files are the same as then."""
        return int(self._marks[self._place(block)]) == _mark(identity)

    def put(self, block: Block, identity: _Identity) -> None:
        """Note that the block is whole."""
        self._marks[self._place(block)] = _mark(identity)
        self._is_changed = True

    def save(self) -> None:
        """Write the notes, if there are new ones."""
        if not self._is_changed:
            return
        content = _HEAD + self._marks.astype("<u8").tobytes()
        try:
            write_file(self._path, [content, crc32c_bytes(content)])
        except StoreError:
            return  # only an economy: without the notes, the blocks are read again
        self._is_changed = False

    def _place(self, block: Block) -> int:
        return block[0] * self._panels[1] + block[1]


def _mark(identity: _Identity) -> int:
    packed = struct.pack(f"<{len(identity)}Q", *(number & (2**64 - 1) for number in identity))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") or 1
