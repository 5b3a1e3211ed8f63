"""Derivatives of fully connected kernels in their vectors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.derivatives.duals import check_differentiable
from gramserve.kernels.derivatives.expand import Directions, Expansion
from gramserve.kernels.derivatives.jet import Jet
from gramserve.kernels.derivatives.walk import NAMES, PairState, Walk
from gramserve.spec import KernelName, KernelSpec
from gramserve.spec.derivative import Derivative, derivative_order

Array = NDArray[np.float64]

PIECE_BYTES = 2**25
"""Memory that a run of rows takes while it is made, unless told otherwise."""

_NUMBERS_OF_A_PAIR = 96
"""Numbers alive at once for a pair: derivatives of S, T, the dual and its slope, and sums."""


def pair_bytes(derivative: Derivative, length: int, *, contracted: bool = False) -> int:
    """Return the memory of one pair while its derivative is worked out, result included.

    Parameters
    ----------
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Which.
    length : int
        D, the entries of an item.
    contracted : bool
        Whether directions are given.

    Returns
    -------
    int
        Bytes.
    """
    if contracted:
        return 8 * _NUMBERS_OF_A_PAIR
    components = length if sum(derivative_order(derivative)) == 1 else length * length
    factors = 6 * length
    # An eighth of a number tells of each component whether it is finite.
    return 8 * (_NUMBERS_OF_A_PAIR + factors + components) + components


def differentiate_kernel(
    spec: KernelSpec,
    rows: Array,
    columns: Array,
    derivative: Derivative,
    kernel: KernelName,
    *,
    along: Directions | None = None,
) -> Array:
    """Return a derivative of the kernel of every row item with every column item.

    The network's recursion is differentiated by the chain rule; nothing is approximated.

    Parameters
    ----------
    spec : KernelSpec
        A network on vectors.
    rows, columns : ndarray of float64, (n, D) and (m, D)
        The items.
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Which; "dxdx2" is the covariance of the gradients of the random network.
    kernel : {"nngp", "ntk"}
        Of which of the network's kernels.
    along : Directions, optional
        Of the items that it is differentiated by: the derivative is multiplied with them.

    Returns
    -------
    ndarray of float64, (n, m, D) or (n, m, D, D); (n, m) with directions
        inf in every component of a pair whose derivative does not exist or is infinite.

    Raises
    ------
    SpecError
        When a layer has no derivatives here; names them.
    NonFiniteKernelError
        When numbers overflow; names the first pair.

    Notes
    -----
    Limits are returned where they exist. The NNGP of relu and its relatives has all four
    derivatives at angle 0 or pi, its NTK none of them: it has a kink there. At a vector of
    zeros, a network that is homogeneous of degree 1 and not linear has none.

    Time and memory are O(layers n m) and O(n m), and those of the result
    (:func:`pair_bytes`); callers with many items go through them in pieces. Next to angle 0
    and pi, rounding is amplified by one over the angle: errors stay below 1e-7 of the
    kernel's size.
    """
    check_differentiable(spec)
    with np.errstate(all="ignore"):  # what is not finite is reported below
        state = begin(spec, rows, columns, derivative)
        value, lost = Walk(derivative, kernel).run(spec.layers, state)
        expansion = Expansion(derivative, value, rows, columns)
        result = expansion.full() if along is None else expansion.along(along)
        result[lost] = 0.0  # whatever came out
    if not np.isfinite(result).all():
        pair = [int(place) for place in np.argwhere(~np.isfinite(result))[0, :2]]
        msg = (
            f"the derivative {derivative} is NaN or overflows, first for row {pair[0]} and column "
            f"{pair[1]}, in float64: scale the items down"
        )
        raise NonFiniteKernelError(msg, layer="result", type=derivative, pair=pair)
    result[lost] = np.inf
    return result


def differentiate_in_pieces(
    spec: KernelSpec,
    rows: NDArray[Any],
    columns: Array,
    derivative: Derivative,
    kernel: KernelName,
    *,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[Array]:
    """Yield a derivative in runs of rows, so that its memory is bounded.

    Parameters
    ----------
    spec, derivative, kernel
        As in :func:`differentiate_kernel`.
    rows : ndarray, (n, D)
        Of any real dtype.
    columns : ndarray of float64, (m, D)
        In memory throughout.
    piece_bytes : int
        Memory of a run with what it is made of; a run has at least one row.

    Yields
    ------
    ndarray of float64, (<= n, m, D) or (<= n, m, D, D)
        Consecutive rows.

    Raises
    ------
    SpecError, NonFiniteKernelError
        As in :func:`differentiate_kernel`.
    """
    step = max(1, piece_bytes // (len(columns) * pair_bytes(derivative, columns.shape[1])))
    for start in range(0, len(rows), step):
        run = rows[start : start + step].astype(np.float64)
        yield differentiate_kernel(spec, run, columns, derivative, kernel)


def begin(spec: KernelSpec, rows: Array, columns: Array, derivative: Derivative) -> PairState:
    """Return the state before the first layer.

    Parameters
    ----------
    spec : KernelSpec
        Its input decides the scale.
    rows, columns : ndarray of float64, (n, D) and (m, D)
        The items.
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        What is going to be asked for.

    Returns
    -------
    PairState
        ``S = a x.x'``, ``q = a x.x``, ``q' = a x'.x'``.
    """
    scale = 1 / rows.shape[1] if spec.input.channels == "mean" else 1.0
    covariance = rows @ columns.T
    own = np.einsum("id,id->i", rows, rows)[:, None]
    theirs = np.einsum("id,id->i", columns, columns)[None]
    # A product of matrices sums in another order; equal items have an angle of exactly 0.
    close = np.abs(covariance - own) <= 1e-9 * own
    close &= np.abs(covariance - theirs) <= 1e-9 * theirs
    left, right = np.nonzero(close)
    equal = (rows[left] == columns[right]).all(axis=1)
    covariance[left[equal], right[equal]] = own[left[equal], 0]
    theirs[0, right[equal]] = own[left[equal], 0]
    first = {name: {name: np.full((1, 1), scale)} for name in NAMES[derivative]}
    return PairState(
        Jet(scale * covariance, first["s"]),
        Jet(scale * own, first.get("r", {})),
        Jet(scale * theirs, first.get("t", {})),
        None,
        np.zeros(covariance.shape, bool),
        rows.shape[1] == 1,
    )
