"""Convolutions act on both positions at once: a box filter along the diagonals.

Along one axis, tap ``t`` of output ``o`` reads input ``i = (s o + d t - l) / f`` when that is a
whole number inside the input (stride ``s``, dilation ``d``, padding ``l``, fill ``f``). The
covariance of the output sums the covariance of the inputs that equal taps read,

    S'[o, o'] = w^2 n sum_t S[i(o, t), i(o', t)] + b^2,

one axis after the other, because the taps of a box factorise.

References
----------
Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian
Processes", ICLR 2019. Dumoulin and Visin, "A guide to convolution arithmetic", 2016.
"""

from math import gcd, prod

from gramserve.arrays import Array, namespace_of
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding


def _tap_slices(
    length: int, outputs: int, offset: int, stride: int, fill: int
) -> tuple[slice, slice]:
    """Return outputs ``o`` and inputs ``(stride o + offset) / fill`` of one tap, as slices."""
    step = fill // gcd(stride, fill)
    first = next(
        (
            output
            for output in range(outputs)
            if (stride * output + offset) >= 0 and (stride * output + offset) % fill == 0
        ),
        outputs,
    )
    last = min(outputs - 1, ((length - 1) * fill - offset) // stride)
    if first > last:
        return slice(0, 0), slice(0, 0)
    count = (last - first) // step + 1
    start, jump = (stride * first + offset) // fill, stride * step // fill
    return (
        slice(first, first + (count - 1) * step + 1, step),
        slice(start, start + (count - 1) * jump + 1, jump),
    )


def _along_axis(  # noqa: PLR0917
    state: Array, axis: int, axes: int, layer: layers.Conv, outputs: int, low: int
) -> Array:
    """Sum over the taps of one axis, on the row and the column positions together."""
    xp = namespace_of(state)
    rows, columns = state.ndim - 2 * axes + axis, state.ndim - axes + axis
    length = state.shape[rows]
    size, stride = layer.size[axis], layer.strides[axis]  # type: ignore[index]
    dilation, fill = layer.dilation[axis], layer.fill[axis]  # type: ignore[index]
    shape = list(state.shape)
    shape[rows] = shape[columns] = outputs
    result = xp.zeros(shape, dtype=state.dtype)
    for tap in range(size):
        offset = dilation * tap - low
        if layer.padding == "circular":
            wrapped = (stride * xp.arange(outputs) + offset) % length
            result += state.take(wrapped, axis=rows).take(wrapped, axis=columns)
            continue
        to, source = _tap_slices(length, outputs, offset, stride, fill)
        target, origin = [slice(None)] * state.ndim, [slice(None)] * state.ndim
        target[rows] = target[columns] = to
        origin[rows] = origin[columns] = source
        result[tuple(target)] += state[tuple(origin)]
    return result


def convolve(state: Array, layer: layers.Conv, positions: Positions) -> Array:
    """Return the patch sums (or means) of a covariance, without weights and biases.

    Parameters
    ----------
    state : array, (..., *P, *P)
        Covariance or tangent kernel before the layer.
    layer : Conv
        A convolution of a normalised spec.
    positions : tuple of int
        ``P``, the positions before the layer.

    Returns
    -------
    array, (..., *Q, *Q)
        ``n sum_u S[p+u, p'+u]``.
    """
    axes = len(positions)
    after, padding = positions_of(layer, positions), resolve_padding(layer, positions)
    for axis in range(axes):
        state = _along_axis(state, axis, axes, layer, after[axis], padding[axis][0])
    if layer.average:
        state /= prod(layer.size)  # type: ignore[arg-type]
    return state
