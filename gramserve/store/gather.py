"""Gathering rows and columns of a Gram matrix from the files of its blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gramserve.store.selection import Indices


@dataclass(frozen=True)
class PanelRows:
    """The part of a request that lies in one panel of rows."""

    panel: int
    """Which panel."""
    rows: list[int]
    """Rows inside the panel, ascending."""
    position: int
    """Where the first goes among the sorted rows of the request."""


@dataclass(frozen=True)
class PanelColumns:
    """The part of a request that lies in one panel of columns."""

    panel: int
    """Which panel."""
    start: int
    """First column of the panel to read."""
    width: int
    """How many columns to read."""
    position: int
    """Column of the result where they go, if all of them do, in order."""
    scatter: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """Otherwise which columns of the result are filled, and from which of those read."""


def split_rows(rows: Indices, block_size: int) -> list[PanelRows]:
    """Cut ascending rows by panel.

    Parameters
    ----------
    rows : range or ndarray of int64, shape (n,)
        Ascending, repeats allowed.
    block_size : int
        Rows of a panel.

    Returns
    -------
    list of PanelRows
        Panels in order.
    """
    indices = np.asarray(rows, np.int64)
    return [
        PanelRows(panel, (indices[start:stop] - panel * block_size).tolist(), start)
        for panel, start, stop in _runs(indices, block_size)
    ]


def split_columns(columns: Indices, block_size: int) -> Sequence[PanelColumns]:
    """Cut columns by panel.

    Parameters
    ----------
    columns : range or ndarray of int64, shape (n,)
        In any order.
    block_size : int
        Columns of a panel.

    Returns
    -------
    sequence of PanelColumns
        Panels in order.
    """
    if isinstance(columns, range):
        return _split_range(columns.start, columns.stop, block_size)
    order = np.argsort(columns, kind="stable")
    ascending = columns[order]
    parts = []
    for panel, start, stop in _runs(ascending, block_size):
        local = ascending[start:stop] - panel * block_size
        first, width = int(local[0]), int(local[-1] - local[0]) + 1
        parts.append(PanelColumns(panel, first, width, 0, (order[start:stop], local - first)))
    return parts


@lru_cache(maxsize=64)
def _split_range(first: int, end: int, block_size: int) -> tuple[PanelColumns, ...]:
    # Most reads are of whole rows, so the same few cuts are asked for again and again.
    parts = []
    start = first
    while start < end:
        panel = start // block_size
        stop = min(end, (panel + 1) * block_size)
        parts.append(PanelColumns(panel, start - panel * block_size, stop - start, start - first))
        start = stop
    return tuple(parts)


def _runs(ascending: NDArray[np.int64], block_size: int) -> Iterator[tuple[int, int, int]]:
    if not len(ascending):
        return
    panels = ascending // block_size
    starts = [0, *(np.flatnonzero(np.diff(panels)) + 1).tolist(), len(ascending)]
    for start, stop in pairwise(starts):
        yield int(panels[start]), start, stop
