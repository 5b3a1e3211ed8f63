"""Pools act on the two positions independently: one small matrix along every axis.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020 (average pooling).
Mairal et al., "Convolutional Kernel Networks", NeurIPS 2014 (Gaussian pooling).
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, namespace_of
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding


def window_matrix(
    layer: layers.AvgPool | layers.SumPool, positions: Positions, axis: int
) -> NDArray[np.float64]:
    """Return the matrix of a pool along one axis.

    Parameters
    ----------
    layer : AvgPool or SumPool
        A pool of a normalised spec.
    positions : tuple of int
        Positions before the layer.
    axis : int
        Which axis of them.

    Returns
    -------
    ndarray of float64, (outputs, inputs)
        Window sums or means; windows over the edge count missing positions as zeros unless
        the layer normalises edges.
    """
    window, stride = layer.window[axis], layer.strides[axis]  # type: ignore[index]
    low = resolve_padding(layer, positions)[axis][0]
    outputs = positions_of(layer, positions)[axis]
    starts = stride * np.arange(outputs)[:, None] - low
    inputs = np.arange(positions[axis])[None, :]
    matrix = ((inputs >= starts) & (inputs < starts + window)).astype(np.float64)
    covered = matrix.sum(axis=1, keepdims=True)
    if isinstance(layer, layers.AvgPool):
        return matrix / (covered if layer.normalize_edges else window)
    return matrix * (window / covered) if layer.normalize_edges else matrix


def ckn_matrix(layer: layers.CknPool, length: int) -> NDArray[np.float64]:
    """Return the matrix of CKN pooling along one axis of this length.

    gaussian: ``exp(-i^2 / factor^2)``, ``i = -factor..factor``, normalised; output ``j`` starts
    at input ``subsampling j``. average: ``factor`` equal weights, same start. strided: picks
    input ``subsampling (j + 1)``. Filters are cut at the far edge without renormalising.

    Parameters
    ----------
    layer : CknPool
        A pool of a normalised spec.
    length : int
        Positions before the layer along the axis.

    Returns
    -------
    ndarray of float64, (outputs, inputs)
        The pooling weights.
    """
    step, factor = layer.subsampling, layer.factor or layer.subsampling
    outputs = positions_of(layer, (length,))[0]
    matrix = np.zeros((outputs, length))
    if layer.kind == "strided":
        matrix[np.arange(outputs), step * (np.arange(outputs) + 1)] = 1
        return matrix
    if layer.kind == "average":
        weights = np.full(factor, 1 / factor)
    else:
        weights = np.exp(-((np.arange(-factor, factor + 1) / factor) ** 2))
        weights /= weights.sum()
    for output in range(outputs):
        covered = weights[: length - step * output]
        matrix[output, step * output : step * output + len(covered)] = covered
    return matrix


def pool(state: Array, layer: layers.LayerModel, positions: Positions) -> Array:
    """Return a covariance (or tangent kernel) pooled over both positions.

    Parameters
    ----------
    state : array, (..., *P, *P)
        Before the layer.
    layer : AvgPool, SumPool or CknPool
        A pool of a normalised spec.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (..., *Q, *Q)
        After the layer.
    """
    xp = namespace_of(state)
    axes = len(positions)
    for axis in range(axes):
        if isinstance(layer, layers.CknPool):
            matrix = ckn_matrix(layer, positions[axis])
        elif isinstance(layer, layers.AvgPool | layers.SumPool):
            matrix = window_matrix(layer, positions, axis)
        weights = xp.asarray(matrix, dtype=state.dtype)
        for side in (state.ndim - 2 * axes + axis, state.ndim - axes + axis):
            state = xp.moveaxis(xp.matmul(xp.moveaxis(state, side, -1), weights.T), -1, side)
    return state


def read_out(state: Array, layer: layers.LayerModel, positions: Positions) -> Array:
    """Return one number per pair: a global pool, or the sum or mean over equal positions.

    Parameters
    ----------
    state : array, (..., *P, *P)
        Before the layer.
    layer : GlobalAvgPool, GlobalSumPool or Flatten
        The readout.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (...)
        After the layer.
    """
    xp = namespace_of(state)
    count = prod(positions)
    flat = state.reshape(*state.shape[: state.ndim - 2 * len(positions)], count, count)
    if isinstance(layer, layers.Flatten):
        total = xp.trace(flat, axis1=-2, axis2=-1)
        return total / count if layer.average else total
    total = flat.sum(axis=(-2, -1))
    return total / count**2 if isinstance(layer, layers.GlobalAvgPool) else total
