"""Which rows or columns: checked indices, as a range where they follow each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import RowRangeError

Request = None | int | slice | range | Sequence[int] | NDArray[np.integer]
"""All (None), one, a slice, or a list of indices in any order, repeats allowed."""

Indices = range | NDArray[np.int64]
"""Checked: a range with step 1, or a one-dimensional array."""


def resolve(request: Request, count: int, axis: str = "rows") -> Indices:
    """Check a request and write it as indices.

    Parameters
    ----------
    request : None, int, slice, range, sequence of int or ndarray of int, shape (n,)
        Which indices; none may be negative, since over HTTP a negative row is a mistake.
    count : int
        How many rows or columns there are.
    axis : {"rows", "columns"}
        For the message.

    Returns
    -------
    range or ndarray of int64, shape (n,)
        A range with step 1 where the indices follow each other.

    Raises
    ------
    RowRangeError
        If an index is not whole, negative, or beyond the end. Slices are not clipped.

    Examples
    --------
    >>> resolve(slice(2, 5), 10), resolve([3, 7], 10), resolve([4, 5, 6], 10)
    (range(2, 5), array([3, 7]), range(4, 7))
    """
    if request is None:
        return range(count)
    if isinstance(request, bool | np.bool_):
        raise RowRangeError(f"{axis} are given as whole numbers, not as {request}")
    if isinstance(request, slice):
        request = _as_range(request, count, axis)
    if isinstance(request, int | np.integer):
        request = range(int(request), int(request) + 1)
    if isinstance(request, range):
        if request:
            _check(min(request), max(request), count, axis)
        if request.step == 1 or len(request) <= 1:
            return range(request.start, request.start + len(request)) if request else range(0)
        return np.asarray(request, np.int64)
    return _as_indices(request, count, axis)


def _as_range(request: slice, count: int, axis: str) -> range:
    start = 0 if request.start is None else request.start
    stop = count if request.stop is None else request.stop
    step = 1 if request.step is None else request.step
    try:
        found = range(start, stop, step)
    except (TypeError, ValueError) as error:
        raise RowRangeError(f"{axis} {start}:{stop}:{step}: {error}") from error
    if start < 0 or stop < 0 or step < 0:
        raise RowRangeError(
            f"{axis} {start}:{stop}:{step}: negative numbers are not taken; count from the start"
        )
    if start > count or stop > count:
        raise RowRangeError(
            f"{axis} {start}:{stop} reach beyond the {count} there are", count=count
        )
    return found


def _as_indices(request: Sequence[int] | NDArray[np.integer], count: int, axis: str) -> Indices:
    try:
        given = np.asarray(request)
    except (TypeError, ValueError) as error:
        raise RowRangeError(f"{axis} must be one list of whole numbers: {error}") from error
    if given.ndim != 1:
        raise RowRangeError(f"{axis} must be one list of whole numbers, not of shape {given.shape}")
    if not given.size:
        return range(0)
    if given.dtype.kind not in "iu":
        raise RowRangeError(f"{axis} must be whole numbers, not {given.dtype}")
    first, last = int(given.min()), int(given.max())
    _check(first, last, count, axis)
    indices = given.astype(np.int64)
    if last - first == len(indices) - 1 and (np.diff(indices) == 1).all():
        return range(first, last + 1)
    return indices


def _check(first: int, last: int, count: int, axis: str) -> None:
    if first < 0:
        raise RowRangeError(
            f"{axis} {first}: negative numbers are not taken; count from the start", count=count
        )
    if last >= count:
        raise RowRangeError(
            f"{axis} {last}: there are {count}, the last is {count - 1}", count=count
        )
