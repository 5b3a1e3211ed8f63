"""Convolutions act on both positions at once: a box filter along the diagonals.

The covariance of the output sums the covariance of the inputs that equal taps read,

    S'[o, o'] = w^2 n sum_t S[i(o, t), i(o', t)] + b^2,

one axis after the other, because the taps of a box factorise. The sum never mixes offsets
``p' - p``, so the diagonal ``p = p'`` can be convolved without the rest.

References
----------
Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian
Processes", ICLR 2019. Dumoulin and Visin, "A guide to convolution arithmetic", 2016.
"""

from math import prod

from gramserve.arrays import Array
from gramserve.kernels.taps import Window, sum_taps
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding


def convolve(
    state: Array,
    layer: layers.Conv | layers.ConvLocal,
    positions: Positions,
    *,
    diagonal: bool = False,
) -> Array:
    """Return the patch sums of a covariance, without mean, weights and biases.

    Parameters
    ----------
    state : array, (..., *P, *P), or (..., *P) when diagonal
        Covariance or tangent kernel before the layer; not changed.
    layer : Conv or ConvLocal
        A convolution of a normalised spec.
    positions : tuple of int
        ``P``, the positions before the layer.
    diagonal : bool
        Whether the state holds ``p = p'`` only.

    Returns
    -------
    array, (..., *Q, *Q) or (..., *Q)
        ``sum_u S[p+u, p'+u]``, a new array.
    """
    axes = len(positions)
    after, padding = positions_of(layer, positions), resolve_padding(layer, positions)
    for axis in range(axes):
        window = Window(
            size=layer.size[axis],  # type: ignore[index]
            outputs=after[axis],
            stride=layer.strides[axis],  # type: ignore[index]
            low=padding[axis][0],
            dilation=layer.dilation[axis],  # type: ignore[index]
            fill=layer.fill[axis],  # type: ignore[index]
            is_circular=layer.padding == "circular",
        )
        columns = state.ndim - axes + axis
        state = sum_taps(state, (columns,) if diagonal else (columns - axes, columns), window)
    return state


def patch_scale(layer: layers.Conv | layers.ConvLocal) -> float:
    """Return ``n``: 1, or one over the taps of the patch for its mean."""
    return 1 / prod(layer.size) if layer.average else 1.0  # type: ignore[arg-type]
