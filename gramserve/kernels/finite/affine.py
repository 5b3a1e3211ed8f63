"""Layers with weights of a finite network: cross-correlations, shared or not, and dense layers.

With patches ``x_q`` of the input at output ``q`` (:mod:`gramserve.kernels.finite.patches`),

    z_q = s x_q W + b beta,    s = w_std sqrt(n / divisor),    b = b_std,

where the entries of ``W`` and ``beta`` are drawn from N(0, 1). In the NTK parameterisation these
are the parameters; in the standard one, ``s W`` and ``b beta`` are. Outputs are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.finite.parameters import LayerParameters
from gramserve.kernels.finite.patches import conv_windows, fold, unfold
from gramserve.kernels.finite.units import merge_outputs
from gramserve.kernels.taps import Window
from gramserve.spec import layers
from gramserve.spec.finite import Parameterization
from gramserve.spec.shapes import Positions
from gramserve.stages import Node


@dataclass(frozen=True)
class Affine:
    """A layer with weights; its arrays lie where its weights lie."""

    node: Node
    windows: tuple[Window, ...]
    """One for each axis; none for a dense layer."""
    weights: Array
    """``W``: (T, C, C'), or (Q, T, C, C') where weights are not shared."""
    biases: Array | None
    """``beta``: (C',) or (Q, C'); None for a layer without."""
    scale: float
    """``s``."""
    work_bytes: int
    """Memory for patches, in bytes; items go through the layer in batches that fit."""
    keeps_input: bool = True

    @property
    def is_local(self) -> bool:
        """Whether every position has weights of its own."""
        return isinstance(self.node.layer, layers.ConvLocal)

    @property
    def positions(self) -> Positions:
        """Positions of the result."""
        return self.node.after.positions

    def forward(self, units: Array) -> Array:
        """Return ``z``, (b, *Q, C')."""
        result = self._in_batches(self._forward, units)
        result *= self.scale
        if self.biases is not None:
            biases = self.node.layer.b_std * self.biases  # type: ignore[union-attr]
            result += biases.reshape(*self.positions, -1) if self.is_local else biases
        return result

    def pull(self, vectors: Array, kept: Array | None) -> Array:  # noqa: ARG002
        """Return the pullback into the input, (n, R, *P, C)."""
        flat = self._in_batches(self._pull, merge_outputs(vectors))
        flat *= self.scale
        return flat.reshape(*vectors.shape[:2], *self.node.before.positions, -1)

    def _forward(self, units: Array) -> Array:
        patches = unfold(units, self.windows)
        flat = patches.reshape(*patches.shape[:2], -1)
        if self.is_local:
            matrix = self.weights.reshape(len(self.weights), flat.shape[-1], -1)
            result = (flat.transpose(1, 0, 2) @ matrix).transpose(1, 0, 2)
        else:
            result = flat.reshape(-1, flat.shape[-1]) @ self.weights.reshape(flat.shape[-1], -1)
        return result.reshape(len(units), *self.positions, -1)

    def _pull(self, vectors: Array) -> Array:
        taps, channels = self.weights.shape[-3:-1]
        flat = vectors.reshape(len(vectors), prod(self.positions), -1)
        if self.is_local:
            matrix = self.weights.reshape(len(self.weights), taps * channels, -1)
            patches = (flat.transpose(1, 0, 2) @ matrix.transpose(0, 2, 1)).transpose(1, 0, 2)
        else:
            matrix = self.weights.reshape(taps * channels, -1)
            patches = flat.reshape(-1, flat.shape[-1]) @ matrix.T
        patches = patches.reshape(len(vectors), prod(self.positions), taps, channels)
        return fold(patches, self.windows, self.node.before.positions)

    def _in_batches(self, apply: Callable[[Array], Array], array: Array) -> Array:
        """Apply a map to as many items at once as patches fit."""
        xp = namespace_of(array)
        patch = prod(self.positions) * prod(self.weights.shape[-3:-1]) * array.itemsize
        batch = max(1, self.work_bytes // (2 * patch))
        if batch >= len(array):
            return apply(array)
        result: Array | None = None
        for start in range(0, len(array), batch):
            part = apply(array[start : start + batch])
            if result is None:
                result = xp.empty((len(array), *part.shape[1:]), array.dtype)
            result[start : start + batch] = part
        return result


def affine_unit(node: Node, parameters: LayerParameters, work_bytes: int) -> Affine:
    """Return a layer with weights.

    Parameters
    ----------
    node : Node
        The layer and the units around it.
    parameters : LayerParameters
        Its random numbers.
    work_bytes : int
        Memory for temporaries, in bytes.

    Returns
    -------
    Affine
        Its forward map and its pullback.
    """
    layer = node.layer
    windows: tuple[Window, ...] = ()
    share = 1.0
    if isinstance(layer, layers.Conv | layers.ConvLocal):
        windows = conv_windows(layer, node.before.positions)
        share = 1 / node.taps if layer.average else 1.0
    scale = layer.w_std * sqrt(share / node.before.divisor)  # type: ignore[union-attr]
    return Affine(node, windows, parameters.weights, parameters.biases, scale, work_bytes)


def parameter_factors(unit: Affine, parameterization: Parameterization) -> tuple[float, float]:
    """Return what products of Jacobians by weights and by biases are multiplied by.

    Parameters
    ----------
    unit : Affine
        A layer with weights.
    parameterization : {"ntk", "standard"}
        Which numbers are the parameters.

    Returns
    -------
    weights, biases : float
        ``s^2`` and ``b^2`` for N(0, 1) parameters, ones where the parameters carry the factors.
        0 for the biases of a layer without.
    """
    deviation: float = unit.node.layer.b_std  # type: ignore[union-attr]
    if parameterization == "standard":
        return 1.0, float(deviation > 0)
    return unit.scale**2, deviation**2
