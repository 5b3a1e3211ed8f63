"""Layers without weights of a finite network: forward maps and their pullbacks.

A pullback takes the derivative of some number by a layer's result to its derivative by the
layer's argument (a vector-Jacobian product). Arrays are (b, *P, C) in both directions, ``b``
counting items forwards, and items times outputs of the network backwards.
"""

from dataclasses import dataclass
from math import prod, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.finite.activations import activation_of
from gramserve.kernels.functions import Function
from gramserve.kernels.pooling import ckn_matrix
from gramserve.kernels.taps import Window, tap_slices
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding
from gramserve.stages import Node


class Unit(Protocol):
    """One layer of a network."""

    @property
    def keeps_input(self) -> bool:
        """Whether the pullback needs what the forward map was given."""
        ...

    def forward(self, units: Array) -> Array:
        """Return the layer's result, (b, *Q, C'); the argument is not changed."""
        ...

    def pull(self, vectors: Array, kept: Array | None) -> Array:
        """Return the pullback of (n, R, *Q, C') vectors to (n, R, *P, C).

        ``kept`` is the argument of the forward map, (n, *P, C), where the layer needs it.
        """
        ...


def merge_outputs(vectors: Array) -> Array:
    """Return (n, R, ...) vectors as (n R, ...)."""
    return vectors.reshape(-1, *vectors.shape[2:])


@dataclass(frozen=True)
class Scale:
    """Multiplication by a number: identity and linear layers."""

    factor: float
    keeps_input: bool = False

    def forward(self, units: Array) -> Array:
        """Return ``factor f``."""
        return units if self.factor == 1 else self.factor * units

    def pull(self, vectors: Array, kept: Array | None) -> Array:  # noqa: ARG002
        """Return ``factor`` times the vectors."""
        return self.forward(vectors)


@dataclass(frozen=True)
class Pointwise:
    """An activation."""

    function: Function
    keeps_input: bool = True

    def forward(self, units: Array) -> Array:
        """Return ``phi(f)``."""
        return self.function.phi(units)

    def pull(self, vectors: Array, kept: Array | None) -> Array:
        """Return ``phi'(f)`` times the vectors."""
        return vectors * self.function.dphi(kept)[:, None]


@dataclass(frozen=True)
class AxisPool:
    """Pooling: one matrix along every axis of the positions."""

    matrices: tuple[NDArray[np.float64], ...]
    """(outputs, inputs) for every axis."""
    keeps_input: bool = False

    def forward(self, units: Array) -> Array:
        """Return the pooled units."""
        for axis, matrix in enumerate(self.matrices):
            units = _along(units, matrix, axis + 1)
        return units

    def pull(self, vectors: Array, kept: Array | None) -> Array:  # noqa: ARG002
        """Return what the transposed matrices make of the vectors."""
        for axis, matrix in enumerate(self.matrices):
            vectors = _along(vectors, matrix.T, axis + 2)
        return vectors


def _along(array: Array, matrix: NDArray[np.float64], axis: int) -> Array:
    """Multiply a matrix to one axis of an array."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    weights = namespace_of(array).asarray(matrix, dtype=array.dtype)
    flat = weights @ array.reshape(prod(before), array.shape[axis], prod(after))
    return flat.reshape(*before, len(matrix), *after)


@dataclass(frozen=True)
class GlobalPool:
    """Mean or sum over all positions."""

    positions: Positions
    average: bool
    keeps_input: bool = False

    @property
    def _weight(self) -> float:
        return 1 / prod(self.positions) if self.average else 1.0

    def forward(self, units: Array) -> Array:
        """Return (b, C) sums or means."""
        flat = units.reshape(len(units), -1, units.shape[-1])
        return self._weight * flat.sum(axis=1)

    def pull(self, vectors: Array, kept: Array | None) -> Array:  # noqa: ARG002
        """Return the vectors at every position."""
        items, outputs, channels = vectors.shape
        ones = (1,) * len(self.positions)
        spread = (self._weight * vectors).reshape(items, outputs, *ones, channels)
        shape = (items, outputs, *self.positions, channels)
        return namespace_of(vectors).broadcast_to(spread, shape)


@dataclass(frozen=True)
class Flatten:
    """All units of an item in one row; the divisor of the signal knows about the mean."""

    positions: Positions
    keeps_input: bool = False

    def forward(self, units: Array) -> Array:
        """Return (b, P C) units, positions first."""
        return units.reshape(len(units), -1)

    def pull(self, vectors: Array, kept: Array | None) -> Array:  # noqa: ARG002
        """Return the vectors at their positions."""
        return vectors.reshape(*vectors.shape[:2], *self.positions, -1)


@dataclass(frozen=True)
class LayerNorm:
    """``(f - mean f) / sqrt(var f + eps)`` over channels, or over channels and positions."""

    over_positions: bool
    eps: float
    keeps_input: bool = True

    def _normalised(self, units: Array) -> tuple[Array, Array, tuple[int, ...]]:
        axes = tuple(range(1, units.ndim)) if self.over_positions else (units.ndim - 1,)
        centred = units - units.mean(axis=axes, keepdims=True)
        variance = (centred * centred).mean(axis=axes, keepdims=True)
        scale = 1 / namespace_of(units).sqrt(variance + self.eps)
        return centred * scale, scale, axes

    def forward(self, units: Array) -> Array:
        """Return the normalised units."""
        return self._normalised(units)[0]

    def pull(self, vectors: Array, kept: Array | None) -> Array:
        """Return ``s (v - mean v - y mean(v y))``, with ``y`` the result and ``s`` its scale."""
        result, scale, axes = self._normalised(kept)
        axes = tuple(axis + 1 for axis in axes)
        result, scale = result[:, None], scale[:, None]
        along = (vectors * result).mean(axis=axes, keepdims=True)
        return scale * (vectors - vectors.mean(axis=axes, keepdims=True) - result * along)


def pool_matrix(
    layer: layers.AvgPool | layers.SumPool, positions: Positions, axis: int
) -> NDArray[np.float64]:
    """Return the matrix of an average or sum pool along one axis.

    Parameters
    ----------
    layer : AvgPool or SumPool
        A pool of a normalised spec.
    positions : tuple of int
        Positions before it.
    axis : int
        Which of them.

    Returns
    -------
    ndarray of float64, (outputs, inputs)
        Every row a window: ones, divided by the window (mean) or by what it covers.
    """
    size: int = layer.window[axis]  # type: ignore[index]
    window = Window(
        size=size,
        outputs=positions_of(layer, positions)[axis],
        stride=layer.strides[axis],  # type: ignore[index]
        low=resolve_padding(layer, positions)[axis][0],
    )
    matrix = np.zeros((window.outputs, positions[axis]))
    for tap in range(size):
        outputs, inputs = tap_slices(window, tap, positions[axis])
        matrix[np.arange(window.outputs)[outputs], np.arange(positions[axis])[inputs]] += 1
    if layer.normalize_edges:
        matrix *= size / matrix.sum(axis=1, keepdims=True)
    return matrix / size if isinstance(layer, layers.AvgPool) else matrix


def _pool_unit(
    layer: layers.AvgPool | layers.SumPool | layers.CknPool, positions: Positions
) -> AxisPool:
    if isinstance(layer, layers.CknPool):
        return AxisPool(tuple(ckn_matrix(layer, length) for length in positions))
    return AxisPool(tuple(pool_matrix(layer, positions, axis) for axis in range(len(positions))))


def plain_unit(node: Node) -> Unit:
    """Return the unit of a layer that has neither weights nor branches.

    Parameters
    ----------
    node : Node
        The layer and the units before it.

    Returns
    -------
    Unit
        Its forward map and its pullback.
    """
    layer, positions = node.layer, node.before.positions
    unit: Unit
    match layer:
        case layers.Identity() | layers.Linear():
            unit = Scale(sqrt(getattr(layer, "factor", 1.0)))
        case layers.AvgPool() | layers.SumPool() | layers.CknPool():
            unit = _pool_unit(layer, positions)
        case layers.GlobalAvgPool() | layers.GlobalSumPool():
            unit = GlobalPool(positions, average=isinstance(layer, layers.GlobalAvgPool))
        case layers.Flatten():
            unit = Flatten(positions)
        case layers.LayerNorm():
            unit = LayerNorm(over_positions=layer.axes == "all", eps=layer.eps)
        case _:
            unit = Pointwise(activation_of(layer))
    return unit
