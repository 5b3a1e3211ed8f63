"""What one pair of items needs in the dense recursion."""

from collections.abc import Sequence
from math import prod

from gramserve.kernels.inputs import input_width, is_plain
from gramserve.kernels.precision import working_dtype
from gramserve.kernels.variances import branches_of, spec_layers
from gramserve.spec import KernelSpec, Precision, infer_shapes, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages import count_operations

_STATES_AT_ONCE = 10
"""Arrays of the largest state alive at once: S and T, their successors, and a dual's parts."""

_LONG_DUALS = (
    layers.Gelu, layers.Gabor, layers.Gaussian, layers.Sin, layers.Cos, layers.ArcCosine,
    layers.Numeric,
)  # fmt: skip
"""Activations whose duals have more parts."""

_MORE_STATES = 6
"""How many more."""

_QUADRATURE_BYTES = 2**24
"""Function values at the nodes of some variances."""


def temporary_bytes(spec: KernelSpec, item_shape: Sequence[int], precision: Precision) -> int:
    """Return the temporary memory of one pair of items.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    precision : {"float32", "mixed", "float64"}
        How it is computed.

    Returns
    -------
    int
        Bytes: states, the items' vectors, and series of numeric activations.
    """
    cost = count_operations(spec, item_shape)
    states = _STATES_AT_ONCE + 4 * cost.branch_depth
    if any(isinstance(layer, _LONG_DUALS) for layer in spec_layers(spec)):
        states += _MORE_STATES
    if spec.readouts:
        states += 2
    number = working_dtype(precision).itemsize
    vector = prod(item_shape[:-1]) * input_width(spec, item_shape)
    items = 2 * vector * number
    if not is_plain(spec):
        # Made in float64: the items, weighted, next to a constant.
        items += 2 * 8 * (prod(item_shape) + 2 * vector)
    series = _series_bytes(spec, item_shape)
    return states * cost.largest_entries * number + items + series


def _series_bytes(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return what the series of numeric activations need besides states, in bytes."""
    shapes = [shape.positions for shape in infer_shapes(spec, item_shape)]
    needed = _network_series_bytes(spec.layers, shapes[0])
    for readout in spec.readouts:
        needed = max(needed, _network_series_bytes(readout.layers, shapes[readout.after]))
    return needed


def _network_series_bytes(network: Sequence[layers.Layer], positions: Positions) -> int:
    needed = 0
    for layer in network:
        if isinstance(layer, layers.Numeric):
            # Coefficients of both sides and what they are sorted out of; function values.
            needed = max(needed, 64 * layer.degree * prod(positions) + _QUADRATURE_BYTES)
        for branch in branches_of(layer):
            needed = max(needed, _network_series_bytes(branch, positions))
        positions = positions_of(layer, positions)
    return needed
