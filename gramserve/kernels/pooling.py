"""Pools act on the two positions independently: the same map along every axis of both.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020 (average pooling).
Mairal et al., "Convolutional Kernel Networks", NeurIPS 2014 (Gaussian pooling).
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.taps import Window, sum_taps, tap_slices
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding
from gramserve.stages import Window as AxisWindow


def _edge_weights(
    layer: layers.AvgPool | layers.SumPool, window: Window, length: int
) -> NDArray[np.float64]:
    """Return the factor of every output: windows over the edge have fewer positions to count."""
    covered = np.zeros(window.outputs)
    for tap in range(window.size):
        covered[tap_slices(window, tap, length)[0]] += 1
    if isinstance(layer, layers.SumPool):
        return window.size / covered
    return 1 / covered


def _window_pool(
    state: Array, layer: layers.AvgPool | layers.SumPool, positions: Positions
) -> Array:
    """Return window sums or means; positions beyond the edge count as zeros or not at all."""
    xp = namespace_of(state)
    axes = len(positions)
    after, padding = positions_of(layer, positions), resolve_padding(layer, positions)
    for side in range(2 * axes):
        axis = side % axes
        window = Window(
            size=layer.window[axis],  # type: ignore[index]
            outputs=after[axis],
            stride=layer.strides[axis],  # type: ignore[index]
            low=padding[axis][0],
        )
        place = state.ndim - 2 * axes + side
        state = sum_taps(state, (place,), window)
        if layer.normalize_edges:
            weights = xp.asarray(_edge_weights(layer, window, positions[axis]), dtype=state.dtype)
            state *= weights.reshape(-1, *(1,) * (state.ndim - place - 1))
    if isinstance(layer, layers.AvgPool) and not layer.normalize_edges:
        state /= prod(layer.window) ** 2  # type: ignore[arg-type]
    return state


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
    step = layer.subsampling
    outputs = positions_of(layer, (length,))[0]
    matrix = np.zeros((outputs, length))
    if layer.kind == "strided":
        matrix[np.arange(outputs), step * (np.arange(outputs) + 1)] = 1
        return matrix
    weights = _ckn_filter(layer)
    for output in range(outputs):
        covered = weights[: length - step * output]
        matrix[output, step * output : step * output + len(covered)] = covered
    return matrix


def axis_weights(
    layer: layers.AvgPool | layers.SumPool | layers.CknPool,
    window: AxisWindow,
    length: int,
    outputs: int,
) -> NDArray[np.float64]:
    """Return the weights of a pool along one axis by output and tap.

    Parameters
    ----------
    layer : AvgPool, SumPool or CknPool
        A pool of a normalised spec.
    window : Window
        Taps, stride and padding along it; one tap along an axis that the layer does not have.
    length, outputs : int
        Positions before and behind the layer along the axis.

    Returns
    -------
    ndarray of float64, (outputs, taps)
        Output ``o`` reads input ``stride o + tap - low``; taps beyond the edges mean nothing.
    """
    taps = window.size
    if taps == 1:
        return np.ones((outputs, 1))
    if isinstance(layer, layers.CknPool):
        return np.broadcast_to(_ckn_filter(layer), (outputs, taps))
    if layer.normalize_edges:
        edges = Window(size=taps, outputs=outputs, stride=window.stride, low=window.low)
        return np.repeat(_edge_weights(layer, edges, length)[:, None], taps, axis=1)
    return np.full((outputs, taps), 1 / taps if isinstance(layer, layers.AvgPool) else 1.0)


def _ckn_filter(layer: layers.CknPool) -> NDArray[np.float64]:
    factor = layer.factor or layer.subsampling
    if layer.kind == "average":
        return np.full(factor, 1 / factor)
    weights: NDArray[np.float64] = np.exp(-((np.arange(-factor, factor + 1) / factor) ** 2))
    return weights / weights.sum()


def _ckn_pool(state: Array, layer: layers.CknPool, positions: Positions) -> Array:
    xp = namespace_of(state)
    axes = len(positions)
    for side in range(2 * axes):
        matrix = xp.asarray(ckn_matrix(layer, positions[side % axes]), dtype=state.dtype)
        place = state.ndim - 2 * axes + side
        # Everything after the axis is one axis of a matrix product, the last has nothing after.
        before, after = state.shape[:place], state.shape[place + 1 :]
        if after:
            state = matrix @ state.reshape(*before, state.shape[place], prod(after))
        else:
            state = state @ matrix.T
        state = state.reshape(*before, len(matrix), *after)
    return state


def pool(
    state: Array, layer: layers.AvgPool | layers.SumPool | layers.CknPool, positions: Positions
) -> Array:
    """Return a covariance (or tangent kernel) pooled over both positions.

    Parameters
    ----------
    state : array, (..., *P, *P)
        Before the layer; not changed.
    layer : AvgPool, SumPool or CknPool
        A pool of a normalised spec.
    positions : tuple of int
        ``P``.

    Returns
    -------
    array, (..., *Q, *Q)
        After the layer, a new array.
    """
    if isinstance(layer, layers.CknPool):
        return _ckn_pool(state, layer, positions)
    return _window_pool(state, layer, positions)


def read_out(
    state: Array,
    layer: layers.GlobalAvgPool | layers.GlobalSumPool | layers.Flatten,
    positions: Positions,
    *,
    diagonal: bool = False,
) -> Array:
    """Return one number per pair: a global pool, or the sum or mean over equal positions.

    Parameters
    ----------
    state : array, (..., *P, *P), or (..., *P) when diagonal
        Before the layer.
    layer : GlobalAvgPool, GlobalSumPool or Flatten
        The readout.
    positions : tuple of int
        ``P``.
    diagonal : bool
        Whether the state holds ``p = p'`` only, all that flatten reads.

    Returns
    -------
    array, (...)
        After the layer.
    """
    xp = namespace_of(state)
    count, axes = prod(positions), len(positions)
    if isinstance(layer, layers.Flatten):
        if diagonal:
            total = state.reshape(*state.shape[: state.ndim - axes], count).sum(axis=-1)
        else:
            flat = state.reshape(*state.shape[: state.ndim - 2 * axes], count, count)
            total = xp.trace(flat, axis1=-2, axis2=-1)
        return total / count if layer.average else total
    total = state.reshape(*state.shape[: state.ndim - 2 * axes], count**2).sum(axis=-1)
    return total / count**2 if isinstance(layer, layers.GlobalAvgPool) else total
