"""Which blocks of a grid: a bitmap, so that a million of them are an eighth of a megabyte."""

from collections.abc import Iterable, Iterator
from typing import Self

from gramserve.plan.grid import BlockIndex, Grid


class BlockMap:
    """A set of canonical blocks of one grid.

    Bit k, counted from the lowest bit of the first byte, is the k-th block of
    :meth:`Grid.blocks`: row panel by row panel, of a symmetric matrix from the diagonal on.

    Parameters
    ----------
    grid : Grid
        Whose blocks.
    blocks : iterable of (int, int)
        Those in the set at first.

    Examples
    --------
    >>> grid = Grid(rows=5, columns=5, block_size=2, symmetric=True)
    >>> stored = BlockMap(grid, [(0, 0), (1, 2)])
    >>> len(stored), (1, 2) in stored, stored.to_bytes().hex()
    (2, True, '11')
    >>> list(stored.missing())
    [(0, 1), (0, 2), (1, 1), (2, 2)]
    """

    def __init__(self, grid: Grid, blocks: Iterable[BlockIndex] = ()) -> None:
        self.grid = grid
        self._bits = bytearray(-(-grid.block_count // 8))
        self._count = 0
        self._across = grid.column_panels
        self._down = grid.row_panels
        for block in blocks:
            self.add(block)

    @classmethod
    def full(cls, grid: Grid) -> Self:
        """Return the map of all blocks of a grid."""
        whole = cls(grid)
        number = (1 << grid.block_count) - 1
        whole._bits = bytearray(number.to_bytes(len(whole._bits), "little"))
        whole._count = grid.block_count
        return whole

    def _place(self, block: BlockIndex) -> int:
        i, j = block
        if not (0 <= i < self._down and (i if self.grid.symmetric else 0) <= j < self._across):
            return -1
        # Of a symmetric matrix, i rows of blocks above have across, across - 1, ... blocks.
        return i * self._across + j - (i * (i + 1) // 2 if self.grid.symmetric else 0)

    def add(self, block: BlockIndex) -> bool:
        """Put a block in; return whether it is new. What is no canonical block is left out."""
        place = self._place(block)
        if place < 0 or self._bits[place >> 3] >> (place & 7) & 1:
            return False
        self._bits[place >> 3] |= 1 << (place & 7)
        self._count += 1
        return True

    def discard(self, block: BlockIndex) -> None:
        """Take a block out if it is in."""
        place = self._place(block)
        if place >= 0 and self._bits[place >> 3] >> (place & 7) & 1:
            self._bits[place >> 3] &= ~(1 << (place & 7))
            self._count -= 1

    def __contains__(self, block: object) -> bool:
        """Whether a block is in the set."""
        place = self._place(block)  # type: ignore[arg-type]
        return place >= 0 and bool(self._bits[place >> 3] >> (place & 7) & 1)

    def lacks(self, block: BlockIndex) -> bool:
        """Whether a block is one of the grid and not in the set."""
        place = self._place(block)
        return place >= 0 and not self._bits[place >> 3] >> (place & 7) & 1

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[BlockIndex]:
        """Go through them in the order of the grid."""
        return self._with_bit(1)

    def missing(self) -> Iterator[BlockIndex]:
        """Go through the blocks of the grid that are not in, in the order of the grid."""
        return self._with_bit(0)

    def _with_bit(self, wanted: int) -> Iterator[BlockIndex]:
        place = 0
        uniform = 0 if wanted else 0xFF
        for i in range(self._down):
            start = i if self.grid.symmetric else 0
            end = place + self._across - start
            while place < end:
                byte = self._bits[place >> 3]
                if byte == uniform:  # nothing of what is wanted: on to the next byte
                    place = min((place | 7) + 1, end)
                    continue
                if byte >> (place & 7) & 1 == wanted:
                    yield i, self._across - (end - place)
                place += 1

    def __eq__(self, other: object) -> bool:
        """Whether another map of this grid, or a set, has the same blocks."""
        if isinstance(other, BlockMap):
            return self.grid == other.grid and self._bits == other._bits
        if isinstance(other, (set, frozenset)):
            return len(other) == self._count and all(block in self for block in other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Self) -> Self:
        """Return the blocks that are in both maps of one grid."""
        both = type(self)(self.grid)
        number = int.from_bytes(self._bits, "little") & int.from_bytes(other._bits, "little")
        both._bits = bytearray(number.to_bytes(len(self._bits), "little"))
        both._count = number.bit_count()
        return both

    def to_bytes(self) -> bytes:
        """Return the bitmap, one bit a block, the unused bits of the last byte zero."""
        return bytes(self._bits)
