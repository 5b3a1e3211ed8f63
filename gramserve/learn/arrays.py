"""Matrices, targets and times as they are handed in, checked."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, ShapeError, SpecError, UnsupportedDtypeError

Array = NDArray[np.float64]


def fault[E: SpecError](kind: type[E], where: str, message: str) -> E:
    """Return an error about one argument.

    Parameters
    ----------
    kind : type of SpecError
        Which error.
    where : str
        The argument.
    message : str
        What is wrong and what to do.

    Returns
    -------
    SpecError
        To be raised.
    """
    return kind(message, errors=[{"loc": where, "message": message}])


def read_real(name: str, given: ArrayLike) -> NDArray[Any]:
    """Return an array of real, finite numbers in its own dtype.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    given : array_like
        What was passed.

    Returns
    -------
    ndarray
        Any shape.

    Raises
    ------
    UnsupportedDtypeError
        When the numbers are not real.
    InvalidDataError
        When one is NaN or infinite; names the first.
    """
    values = np.asarray(given)
    if values.dtype.kind not in "buif":
        raise fault(
            UnsupportedDtypeError, name, f"{name} of dtype {values.dtype} are not real numbers"
        )
    finite = np.isfinite(values)
    if not finite.all():
        first = [int(place) for place in np.argwhere(~finite)[0]]
        raise fault(
            InvalidDataError,
            name,
            f"{name} hold NaN or infinity, first at {first} "
            f"({np.count_nonzero(~finite)} of {values.size} entries)",
        )
    return values


def read_gram(given: ArrayLike) -> tuple[Array, float]:
    """Return a Gram matrix in float64, exactly symmetric, and the rounding of its dtype.

    Parameters
    ----------
    given : array_like, (N, N)
        Symmetric up to rounding.

    Returns
    -------
    matrix : ndarray, (N, N)
        float64.
    eps : float
        Machine epsilon of the dtype it came in.

    Raises
    ------
    ShapeError
        When it is not square.
    InvalidDataError
        When it is empty, not finite or not symmetric.
    """
    values = read_real("gram", given)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise fault(
            ShapeError,
            "gram",
            f"the Gram matrix of the training items has shape {values.shape}; it must be square "
            "(rows of other items go to predict)",
        )
    if not len(values):
        raise fault(InvalidDataError, "gram", "the Gram matrix has no items")
    eps = float(np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps)
    matrix = values.astype(np.float64)
    gap = np.abs(matrix - matrix.T)
    if gap.max() > 100 * eps * np.abs(matrix).max():
        i, j = (int(place) for place in np.unravel_index(gap.argmax(), gap.shape))
        raise fault(
            InvalidDataError,
            "gram",
            f"the Gram matrix is not symmetric: [{i}, {j}] is {matrix[i, j]:.6g}, [{j}, {i}] is "
            f"{matrix[j, i]:.6g}",
        )
    return (matrix + matrix.T) / 2, eps


def read_outputs(
    name: str, given: ArrayLike, items: int, shape: tuple[int, ...] | None = None
) -> Array:
    """Return outputs of items in float64.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    given : array_like, (n,) or (n, outputs)
        One or several outputs for every item.
    items : int
        n.
    shape : tuple of int, optional
        Which of the two it must be: () or (outputs,).

    Returns
    -------
    ndarray, (n,) or (n, outputs)
        The same.

    Raises
    ------
    ShapeError
        When it does not fit.
    """
    values = read_real(name, given)
    if values.ndim not in {1, 2} or len(values) != items:
        raise fault(
            ShapeError,
            name,
            f"{name} have shape {values.shape}; {items} items need ({items},) or "
            f"({items}, outputs)",
        )
    if shape is not None and values.shape[1:] != shape:
        raise fault(
            ShapeError, name, f"{name} have shape {values.shape}, not {(items, *shape)} as targets"
        )
    return values.astype(np.float64)


def read_rows(given: ArrayLike, items: int) -> Array:
    """Return kernel rows of other items in float64.

    Parameters
    ----------
    given : array_like, (m, N)
        Kernel of m items with the training items.
    items : int
        N.

    Returns
    -------
    ndarray, (m, N)
        The same.

    Raises
    ------
    ShapeError
        When there is not one column for every training item.
    """
    values = read_real("rows", given)
    if values.ndim != 2 or values.shape[1] != items:
        raise fault(
            ShapeError,
            "rows",
            f"rows have shape {values.shape}; they need one column for each of the {items} "
            f"training items, (m, {items})",
        )
    return values.astype(np.float64)


def read_times(given: ArrayLike) -> Array:
    """Return times in float64.

    Parameters
    ----------
    given : float or array_like of float, (T,)
        Not negative; infinity is allowed.

    Returns
    -------
    ndarray, () or (T,)
        The same.

    Raises
    ------
    SpecError
        When one is negative or NaN, or there are more axes.
    """
    times = _read_line("time", given, "buif").astype(np.float64)
    if not (times >= 0).all():
        worst = times.ravel()[np.argmin(times.ravel() >= 0)]
        raise fault(SpecError, "time", f"time must not be negative, got {worst}")
    return times


def read_steps(given: ArrayLike) -> NDArray[np.int64]:
    """Return numbers of steps.

    Parameters
    ----------
    given : int or array_like of int, (T,)
        Not negative.

    Returns
    -------
    ndarray of int64, () or (T,)
        The same.

    Raises
    ------
    SpecError
        When one is negative or not an integer, or there are more axes.
    """
    steps = _read_line("steps", given, "ui").astype(np.int64)
    if steps.size and steps.min() < 0:
        raise fault(SpecError, "steps", f"steps must not be negative, got {steps.min()}")
    return steps


def _read_line(name: str, given: ArrayLike, kinds: str) -> NDArray[Any]:
    values = np.asarray(given)
    if values.dtype.kind not in kinds:
        what = "integers" if kinds == "ui" else "real numbers"
        raise fault(SpecError, name, f"{name} must be {what}, got {values.dtype}")
    if values.ndim > 1:
        raise fault(
            SpecError, name, f"{name} has shape {values.shape}; give a number or a list of them"
        )
    return values
