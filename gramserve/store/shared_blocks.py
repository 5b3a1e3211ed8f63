"""Blocks of one Gram matrix whose numbers another one holds: found, and taken over.

Both matrices are of one kernel in one precision, so an entry of theirs is decided by the two items
it compares. Which entries they share follows from the keys of their items alone, however each of
them is cut, ordered or oriented.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gramserve.store.adoption import adopt_block
from gramserve.store.block_masks import Mask, stored_mask
from gramserve.store.block_objects import Block
from gramserve.store.gram import GramStore
from gramserve.store.header import GramHeader
from gramserve.store.item_axis import ItemAxis, Positions
from gramserve.store.shard_files import ShardFiles

_FILES = 64


@dataclass(frozen=True)
class TakenBlock:
    """A block that was taken over."""

    block: Block
    checksum: str
    """As :meth:`GramStore.write_block` returns it."""
    origins: tuple[Block, ...]
    """Blocks of the source that hold its numbers, canonical."""


@dataclass(frozen=True, eq=False)
class BlockSource:
    """A stored matrix, in one orientation, as a source of blocks for another one."""

    target: GramHeader
    """What is to be filled."""
    source: GramStore
    is_transposed: bool
    """Whether rows of the target are columns of the source."""
    rows: Positions
    """Places of the target's row items along the matching side of the source."""
    columns: Positions

    def available(self) -> Mask:
        """Say which blocks of the target can be taken from here now.

        Returns
        -------
        ndarray of bool
            As :func:`stored_mask` orders them; not only those that the target lacks.
        """
        return self._coverable(stored_mask(self.source))

    def reachable(self) -> Mask:
        """Say which blocks of the target can be taken from here when the source is complete.

        Returns
        -------
        ndarray of bool
            As :meth:`available`.
        """
        return self._coverable(np.ones_like(stored_mask(self.source)))

    def origins(self, block: Block) -> tuple[Block, ...]:
        """Return the blocks of the source, canonical, that hold the numbers of one.

        Parameters
        ----------
        block : tuple of int
            One that is :meth:`reachable`.
        """
        size = self.target.block_size
        return self._origins(
            self.rows[block[0] * size : (block[0] + 1) * size],
            self.columns[block[1] * size : (block[1] + 1) * size],
        )

    def _coverable(self, stored: Mask) -> Mask:
        """Return which blocks of the target lie in some blocks of the source."""
        if self.is_transposed:
            stored = stored.T
        size, theirs = self.target.block_size, self.source.block_size
        down = _touched(self.rows, size, theirs, stored.shape[0])
        across = _touched(self.columns, size, theirs, stored.shape[1])
        # Of the blocks that a block of the target touches, how many are stored; all, or no use.
        found = down @ (across @ stored.T.astype(np.float32)).T
        needed = np.multiply.outer(_counts(down), _counts(across))
        return np.asarray((found == needed) & (needed > 0))

    def take(self, target: GramStore, block: Block) -> TakenBlock:
        """Store one block in the target without computing it.

        Parameters
        ----------
        target : GramStore
            Where it is missing.
        block : tuple of int
            One that is :meth:`available`.

        Returns
        -------
        TakenBlock
            How it is stored now.

        Raises
        ------
        BlockMissingError
            If a block of the source has gone meanwhile.
        CorruptBlockError
            If a block of the source is damaged; nothing is taken over.
        StorageFullError
            If there is no space.

        Notes
        -----
        Checksums of all that is taken are checked. A block that lies whole in one block of the
        source, in the same layout, becomes a second name of the same file; any other one is
        gathered from the rows of the source and encoded anew.
        """
        size = self.target.block_size
        rows = self.rows[block[0] * size : (block[0] + 1) * size]
        columns = self.columns[block[1] * size : (block[1] + 1) * size]
        other = None if self.is_transposed else self._same_block(rows, columns)
        if other is not None:
            checksum = adopt_block(target, block, self.source, other)
            return TakenBlock(block, checksum, (self.source.header.canonical(*other),))
        if self.is_transposed:
            values = self.source.read(columns, rows).T
        else:
            values = self.source.read(rows, columns)
        return TakenBlock(block, target.write_block(*block, values), self._origins(rows, columns))

    def _same_block(self, rows: Positions, columns: Positions) -> Block | None:
        size = self.source.block_size
        if size != self.target.block_size:
            return None
        other = int(rows[0]) // size, int(columns[0]) // size
        extent = self.source.header.extent(*other)
        for panel, places, length in zip(other, (rows, columns), extent, strict=True):
            start = panel * size
            if not np.array_equal(places, np.arange(start, start + length)):
                return None
        return other

    def _origins(self, rows: Positions, columns: Positions) -> tuple[Block, ...]:
        size, header = self.source.block_size, self.source.header
        first, second = (columns, rows) if self.is_transposed else (rows, columns)
        touched = {
            header.canonical(int(i), int(j))
            for i in np.unique(first // size)
            for j in np.unique(second // size)
        }
        return tuple(sorted(touched))


def block_sources(
    target: GramHeader,
    sides: tuple[ItemAxis, ItemAxis],
    source: GramStore,
    their_sides: tuple[ItemAxis, ItemAxis],
) -> Iterator[BlockSource]:
    """Yield the ways in which one matrix can be a source of blocks for another one.

    Parameters
    ----------
    target : GramHeader
        What is to be filled.
    sides : (ItemAxis, ItemAxis)
        Items of its rows and of its columns.
    source : GramStore
        A matrix of the same kernel, precision and code.
    their_sides : (ItemAxis, ItemAxis)
        Items of its rows and of its columns.

    Yields
    ------
    BlockSource
        As it lies, and transposed unless the source is symmetric; none where they share no
        items.
    """
    if target.dtype != source.dtype:
        return
    # Every strip is checked against its checksum once more, not only once in this process.
    fresh = GramStore(source.path, source.header, ShardFiles(_FILES))
    size = target.block_size
    for is_transposed in (False,) if source.symmetric else (False, True):
        first, second = their_sides[::-1] if is_transposed else their_sides
        rows = first.find(sides[0], size)
        same = sides[0] is sides[1] and first is second
        columns = rows if same else second.find(sides[1], size)
        if (rows >= 0).any() and (columns >= 0).any():
            yield BlockSource(target, fresh, is_transposed, rows, columns)


def _touched(places: Positions, size: int, theirs: int, panels: int) -> sparse.csr_array:
    """Return which panels of the source each panel of the target touches, (mine, theirs).

    A panel with an item that the source lacks touches none.
    """
    mine = np.arange(len(places)) // size
    count = -(-len(places) // size)
    is_whole = np.bincount(mine, places < 0, count) == 0
    kept = is_whole[mine]
    pairs = np.unique(mine[kept] * panels + places[kept] // theirs)
    ones = np.ones(len(pairs), np.float32)
    return sparse.csr_array((ones, (pairs // panels, pairs % panels)), shape=(count, panels))


def _counts(touched: sparse.csr_array) -> NDArray[np.float32]:
    return np.asarray(touched.sum(axis=1), np.float32).ravel()
