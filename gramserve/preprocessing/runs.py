"""Items on their way through a recipe: checked first, then taken some at a time."""

from collections.abc import Iterator
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError

_RUN_BYTES = 16 * 2**20


class ItemSource(Protocol):
    """Items that are read by slices: an array, a mapped file, a stored data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Items first."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the items."""
        ...

    def __getitem__(self, run: slice, /) -> NDArray[Any]:
        """Return a run of items."""
        ...


def checked_items(items: ArrayLike | ItemSource, name: str = "x") -> ItemSource:
    """Return items as something to slice, refusing what cannot be items.

    Parameters
    ----------
    items : array_like or ItemSource, (n, ...)
        Any real dtype.
    name : str
        What to call them in messages.

    Returns
    -------
    ItemSource
        The same, as an array where it was array-like. Values are not looked at.

    Raises
    ------
    UnsupportedDtypeError
        When they are not real numbers.
    ShapeError
        When there are no two axes.
    InvalidDataError
        When there is nothing in them.
    """
    # Whatever has NumPy's dtype is sliced as it is; a mapped file is not read at once.
    source: Any = items
    if not isinstance(getattr(items, "dtype", None), np.dtype):
        try:
            source = np.asarray(items)
        except ValueError as error:
            msg = f"{name} is not one array: {error}"
            raise InvalidDataError(msg, errors=_faults(msg)) from error
    if source.dtype.kind not in "buif":
        msg = (
            f"items of dtype {source.dtype} are not real numbers; pass integers, floats or "
            "booleans, for example x.astype(np.float32)"
        )
        raise UnsupportedDtypeError(msg, errors=_faults(msg))
    if len(source.shape) < 2:
        msg = f"{name} has shape {source.shape}; items come first, so it needs at least two axes"
        raise ShapeError(msg, errors=_faults(msg))
    if 0 in source.shape:
        msg = f"{name} has shape {source.shape} and holds no items"
        raise InvalidDataError(msg, errors=_faults(msg))
    result: ItemSource = source
    return result


def runs_of(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Cut items into runs of 16 MiB in float64.

    Parameters
    ----------
    shape : tuple of int
        Items first.

    Yields
    ------
    tuple of int
        Half-open ranges of items.
    """
    step = max(1, _RUN_BYTES // (8 * prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def _faults(message: str) -> list[dict[str, str]]:
    return [{"loc": "items", "message": message}]
