"""The symmetric whitening matrix of second moments."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from gramserve.errors import InvalidDataError, MemoryBudgetError
from gramserve.spec.preprocessing import Zca

_MATRICES = 4
"""Matrices of D x D float64 that exist at once: moments, eigenvectors and LAPACK's two."""


def check_matrix_fits(features: int, memory_bytes: int) -> None:
    """Refuse to whiten items of more values than memory allows.

    Parameters
    ----------
    features : int
        D, values of an item.
    memory_bytes : int
        Temporary memory allowed.

    Raises
    ------
    MemoryBudgetError
        With both numbers and how many values would fit.
    """
    needed = _MATRICES * 8 * features**2
    if needed > memory_bytes:
        most = int((memory_bytes / (_MATRICES * 8)) ** 0.5)
        raise MemoryBudgetError(
            f"zca of items with {features:,} values needs {needed / 2**30:.2f} GiB for matrices of "
            f"that many rows, {memory_bytes / 2**30:.2f} GiB are allowed; make the items smaller "
            f"(at most {most:,} values), or use standardize, which needs no matrix",
            needed_bytes=needed,
            memory_bytes=memory_bytes,
        )


def whitening_matrix(moments: NDArray[Any], step: Zca) -> NDArray[np.float64]:
    """Return ``W = V diag(1 / sqrt(e + r)) V'`` for moments ``V diag(e) V'``.

    Parameters
    ----------
    moments : ndarray of float64, (D, D)
        Symmetric and positive semidefinite up to rounding; overwritten.
    step : Zca
        Says what ``r`` is.

    Returns
    -------
    ndarray of float64, (D, D)
        Symmetric to the bit, and the same whatever signs and order eigenvectors come in.

    Raises
    ------
    InvalidDataError
        When some direction does not vary beyond rounding and ``r`` is too small to hide that:
        its weight would be made of rounding errors.

    Notes
    -----
    Eigenvalues below zero are rounding errors and taken as zero.
    """
    # LAPACK works on columns: of a symmetric matrix the transpose is the same, and no copy.
    values, vectors = eigh(moments.T, driver="evd", overwrite_a=True, check_finite=False)
    values = np.maximum(values, 0.0)
    shift = step.regularization * (values.mean() if step.mode == "relative" else 1.0)
    least, rounding = values.min() + shift, len(values) * np.finfo(float).eps * values.max()
    if least <= rounding:
        largest = values.max()
        advice = (
            f"raise the regularization, which adds {shift:.3g} to eigenvalues that reach "
            f"{largest:.3g}, or fit on more items"
            if largest > 0
            else "all items are zero where the whitening begins; fit on others"
        )
        raise InvalidDataError(
            f"zca cannot be fitted: {np.count_nonzero(values + shift <= rounding)} of "
            f"{len(values)} directions do not vary beyond rounding; {advice}",
            regularization=step.regularization,
        )
    # A product A A' is symmetric to the bit; V diag(w) V' as three factors is not.
    vectors *= (values + shift) ** -0.25
    white: NDArray[np.float64] = vectors @ vectors.T
    return white
