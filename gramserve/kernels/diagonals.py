"""Entries at equal positions ``p = p'`` of a covariance, and means over positions."""

from math import prod

from gramserve.arrays import Array, namespace_of
from gramserve.spec.shapes import Positions


def _flat(state: Array, positions: Positions) -> Array:
    count, axes = prod(positions), len(positions)
    return state.reshape(*state.shape[: state.ndim - 2 * axes], count, count)


def diagonal_of(state: Array, positions: Positions) -> Array:
    """Return the entries at equal positions.

    Parameters
    ----------
    state : array, (*batch, *P, *P)
        A covariance or tangent kernel.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (*batch, *P)
        A copy.
    """
    flat = _flat(state, positions)
    entries = namespace_of(flat).diagonal(flat, axis1=-2, axis2=-1).copy()
    return entries.reshape(*flat.shape[:-2], *positions)


def spread_diagonal(diagonal: Array, positions: Positions) -> Array:
    """Return the covariance of units that are independent at different positions.

    Parameters
    ----------
    diagonal : array, (*batch, *P)
        Its entries at equal positions.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (*batch, *P, *P)
        Zero elsewhere.
    """
    count, batch = prod(positions), diagonal.shape[: diagonal.ndim - len(positions)]
    state = namespace_of(diagonal).zeros((*batch, count**2), diagonal.dtype)
    state[..., :: count + 1] = diagonal.reshape(*batch, count)
    return state.reshape(*batch, *positions, *positions)


def center(state: Array, positions: Positions) -> Array:
    """Return the covariance of units less their mean over the positions.

    ``S'[p, p'] = S[p, p'] - mean_p S - mean_p' S + mean_pp' S``, as instance normalisation does
    before it divides.

    Parameters
    ----------
    state : array, (*batch, *P, *P)
        A covariance or tangent kernel; not changed.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (*batch, *P, *P)
        With rows and columns of sum 0.
    """
    flat = _flat(state, positions)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    flat -= flat.mean(axis=-2, keepdims=True)
    return flat.reshape(state.shape)
