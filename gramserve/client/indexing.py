"""NumPy's indexing of a matrix, taken apart into rows and columns to fetch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import MemoryBudgetError, RowRangeError

_POINTS_LIMIT = 2**26


@dataclass(frozen=True)
class Selection:
    """Rows and columns to fetch, and how the result is made of them."""

    rows: NDArray[np.intp]
    """Shape (r,): rows to fetch, in order."""
    columns: NDArray[np.intp] | None
    """Shape (c,): columns to fetch, in order; None for all."""
    shape: tuple[int, ...]
    """Shape of the result."""
    points: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None
    """For entry-wise selections, positions of each entry in ``rows`` and in ``columns``."""


def select(key: Any, shape: tuple[int, int]) -> Selection:
    """Take an index of an (n, m) array apart, with NumPy's own rules.

    Parameters
    ----------
    key : object
        Whatever stands between the brackets.
    shape : tuple of int
        ``(n, m)``.

    Returns
    -------
    Selection
        What to fetch.

    Raises
    ------
    RowRangeError
        Also an IndexError: outside the matrix, or not an index at all.

    Notes
    -----
    An index whose two axes are independent becomes a grid of rows and columns. Everything
    else (two index arrays, a two-dimensional mask, ``np.newaxis``) becomes single entries:
    NumPy indexes the row number and the column number of every entry, which cannot disagree
    with how it would have indexed the matrix.
    """
    axes = _split(key)
    if axes is None:
        return _entries(key, shape)
    rows = _along(axes[0], shape[0], "row")
    if isinstance(axes[1], slice) and axes[1] == slice(None):
        return Selection(rows.ravel(), None, (*rows.shape, shape[1]))
    columns = _along(axes[1], shape[1], "column")
    return Selection(rows.ravel(), columns.ravel(), (*rows.shape, *columns.shape))


def _split(key: Any) -> tuple[Any, Any] | None:
    """Return one index for each axis, or None when the axes depend on each other."""
    parts = list(key) if isinstance(key, tuple) else [key]
    ellipses = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(ellipses) > 1:
        return None
    if ellipses and len(parts) <= 3:
        fill = [slice(None)] * (2 - (len(parts) - 1))
        parts[ellipses[0] : ellipses[0] + 1] = fill
    parts += [slice(None)] * (2 - len(parts))
    if len(parts) != 2 or not all(_is_for_one_axis(part) for part in parts):
        return None
    advanced = [not isinstance(part, slice) and np.ndim(part) > 0 for part in parts]
    return None if all(advanced) else (parts[0], parts[1])


def _is_for_one_axis(part: Any) -> bool:
    if isinstance(part, slice):
        return True
    if part is None or part is Ellipsis or isinstance(part, bool | np.bool_):
        return False
    array = np.asarray(part)
    return array.dtype.kind != "b" or array.ndim == 1


def _along(part: Any, length: int, axis: str) -> NDArray[np.intp]:
    try:
        return np.asarray(np.arange(length, dtype=np.intp)[part])
    except IndexError as error:
        raise _range_error(error, axis, length) from None


def _entries(key: Any, shape: tuple[int, int]) -> Selection:
    rows = np.broadcast_to(np.arange(shape[0], dtype=np.intp)[:, None], shape)
    columns = np.broadcast_to(np.arange(shape[1], dtype=np.intp), shape)
    try:
        row_of, column_of = rows[key], columns[key]
    except IndexError as error:
        msg = f"{error}; the Gram matrix has {shape[0]} rows and {shape[1]} columns"
        raise RowRangeError(msg, shape=list(shape)) from None
    if row_of.size > _POINTS_LIMIT:
        msg = (
            f"an index of {row_of.size} single entries; at most {_POINTS_LIMIT} are taken at "
            "once. Select whole rows (gram[start:stop]) and index the arrays"
        )
        raise MemoryBudgetError(msg, entries=int(row_of.size), limit=_POINTS_LIMIT)
    needed_rows, row_place = np.unique(row_of, return_inverse=True)
    needed_columns, column_place = np.unique(column_of, return_inverse=True)
    points = (row_place.ravel(), column_place.ravel())
    return Selection(needed_rows, needed_columns, np.shape(row_of), points)


def _range_error(error: IndexError, axis: str, length: int) -> RowRangeError:
    reason = str(error).replace(" for axis 0 with size", f" for {axis}s, of which there are")
    return RowRangeError(f"{reason}; {axis}s go from 0 to {length - 1}", axis=axis, length=length)
