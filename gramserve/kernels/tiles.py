"""Cutting the pairs of a block into batches that fit memory and cache."""

from collections.abc import Iterator
from math import isqrt

Tile = tuple[slice, slice]
"""A range of rows and one of columns."""


def cut_tiles(rows: int, columns: int, pairs: int, *, symmetric: bool) -> Iterator[Tile]:
    """Cut n x m pairs into rectangles of at most this many pairs, as square as they get.

    Parameters
    ----------
    rows, columns : int
        n and m.
    pairs : int
        Largest number of pairs of a tile.
    symmetric : bool
        Leave out the tiles below the diagonal; those on it are squares.

    Yields
    ------
    (slice, slice)
        Rows and columns of a tile.

    Examples
    --------
    >>> [(t[0].start, t[1].start) for t in cut_tiles(4, 4, 4, symmetric=True)]
    [(0, 0), (0, 2), (2, 2)]
    """
    width = min(columns, isqrt(pairs))
    height = width if symmetric else min(rows, pairs // width)
    if not symmetric:
        width = min(columns, pairs // height)
    for top in range(0, rows, height):
        for left in range(top if symmetric else 0, columns, width):
            yield (
                slice(top, min(top + height, rows)),
                slice(left, min(left + width, columns)),
            )
