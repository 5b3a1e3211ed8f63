"""Dual activations: ``E[phi(u) phi(v)]`` of jointly Gaussian ``u``, ``v``, and for ``phi'``.

All functions take the covariance ``S`` and the variances ``q`` and ``q'`` of the two sides,
broadcast against each other. With ``n = sqrt(q q')``, ``c = S / n`` and ``theta`` the angle
whose cosine is ``c``; where ``n = 0`` the cosine is 0 and the angle pi/2.

References
----------
Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009 (arc-cosine).
Williams, "Computing with Infinite Networks", NeurIPS 1996 (erf).
Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", ICML 2018 (leaky ReLU).
Mairal, "End-to-End Kernel Learning with Supervised Convolutional Kernel Networks", 2016 (exp).
Novak et al., "Neural Tangents", ICLR 2020 (derivative duals in the tangent kernel).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Any

from gramserve.arrays import Array, namespace_of
from gramserve.spec import layers


@dataclass(frozen=True)
class Moments:
    """Second moments of two sets of Gaussians, and what follows from them."""

    covariance: Array
    """``S``; any shape."""
    row_variance: Array
    """``q``, broadcast against ``S``."""
    column_variance: Array
    """``q'``, broadcast against ``S``."""
    same: Any = None
    """Index of the entries that compare a position with itself: their cosine is exactly 1."""

    @cached_property
    def norm(self) -> Array:
        """``n = sqrt(q q')``, of the shape of ``S``."""
        xp = namespace_of(self.covariance)
        rows, columns = self.row_variance, self.column_variance
        if self.covariance.dtype.itemsize >= 8:
            # One rounding less, and exact where both are equal: angles near 0 and pi need it.
            root = xp.sqrt(rows * columns)
        else:
            # float32 would overflow in the product for items beyond 1e9.
            root = xp.sqrt(rows) * xp.sqrt(columns)
        return xp.broadcast_to(root, self.covariance.shape)

    @cached_property
    def cosine(self) -> Array:
        """``c = S / n``, clipped to [-1, 1]; 0 where ``n = 0``."""
        xp = namespace_of(self.covariance)
        cosine = xp.divide(
            self.covariance,
            self.norm,
            out=xp.zeros_like(self.covariance),
            where=self.norm > 0,
        )
        xp.clip(cosine, -1, 1, out=cosine)
        if self.same is not None:
            cosine[self.same] = self.norm[self.same] > 0
        return cosine

    @cached_property
    def sine(self) -> Array:
        """``sin theta``."""
        xp = namespace_of(self.covariance)
        sine = (1 - self.cosine) * (1 + self.cosine)
        xp.sqrt(sine, out=sine)
        return sine

    @cached_property
    def angle(self) -> Array:
        """``theta`` in [0, pi], by ``atan2``: ``arccos`` loses half of the digits near 0."""
        return namespace_of(self.covariance).arctan2(self.sine, self.cosine)


Dual = tuple[Array, Array | None]
"""The dual and the derivative dual (None where it was not asked for)."""


def _arc_cosine(order: int, moments: Moments) -> Array:
    """Return ``J_order(theta)``, orders 0 to 2."""
    rest = pi - moments.angle
    if order == 0:
        return rest
    if order == 1:
        rest *= moments.cosine
        rest += moments.sine
        return rest
    rest *= 1 + 2 * moments.cosine**2
    rest += 3 * moments.sine * moments.cosine
    return rest


def _homogeneous(order: int, scale: float, moments: Moments, *, slope: bool) -> Dual:
    value = _arc_cosine(order, moments)
    value *= scale
    if order:
        value *= moments.norm**order
    if not slope:
        return value, None
    if order == 0:
        return value, namespace_of(value).zeros_like(value)
    derivative = _arc_cosine(order - 1, moments)
    derivative *= scale * order**2
    if order > 1:
        derivative *= moments.norm ** (order - 1)
    return value, derivative


def _relu(layer: layers.Relu, moments: Moments, *, slope: bool) -> Dual:
    return _homogeneous(1, 1 / pi if layer.normalized else 1 / (2 * pi), moments, slope=slope)


def _arc_cosine_layer(layer: layers.ArcCosine, moments: Moments, *, slope: bool) -> Dual:
    scale = 1 / pi if layer.normalized else 1 / (2 * pi)
    return _homogeneous(layer.order, scale, moments, slope=slope)


def _piecewise_linear(a: float, b: float, moments: Moments, *, slope: bool) -> Dual:
    bend, mean = (a - b) ** 2 / (2 * pi), (a * a + b * b) / 2
    value = moments.sine - moments.angle * moments.cosine
    value *= bend * moments.norm
    value += mean * moments.covariance
    return value, mean - bend * moments.angle if slope else None


def _leaky_relu(layer: layers.LeakyRelu, moments: Moments, *, slope: bool) -> Dual:
    return _piecewise_linear(layer.alpha, 1.0, moments, slope=slope)


def _abrelu(layer: layers.AbRelu, moments: Moments, *, slope: bool) -> Dual:
    return _piecewise_linear(layer.a, layer.b, moments, slope=slope)


def _abs(layer: layers.Abs, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    return _piecewise_linear(-1.0, 1.0, moments, slope=slope)


def _erf(layer: layers.Erf, moments: Moments, *, slope: bool) -> Dual:
    xp = namespace_of(moments.covariance)
    inner = 2 * layer.b**2
    widths = (1 + inner * moments.row_variance) * (1 + inner * moments.column_variance)
    scaled = inner * moments.covariance
    sine = xp.clip(scaled / xp.sqrt(widths), -1, 1)
    value = (2 * layer.a**2 / pi) * xp.arcsin(sine) + layer.c**2
    if not slope:
        return value, None
    return value, (4 * layer.a**2 * layer.b**2 / pi) / xp.sqrt(widths - scaled**2)


def _exp_normalized(layer: layers.ExpNormalized, moments: Moments, *, slope: bool) -> Dual:
    xp = namespace_of(moments.covariance)
    value = moments.cosine + layer.shift
    value *= layer.gamma
    xp.exp(value, out=value)
    derivative = layer.gamma * value if slope else None
    value *= moments.norm
    return value, derivative


def _power(layer: layers.Power, moments: Moments, *, slope: bool) -> Dual:
    value = moments.norm * moments.cosine**layer.degree
    if not slope:
        return value, None
    if layer.degree == 0:
        return value, namespace_of(value).zeros_like(value)
    return value, layer.degree * moments.cosine ** (layer.degree - 1)


def _square(layer: layers.Square, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    return moments.covariance**2, 2 * moments.covariance if slope else None


DUALS: dict[type[layers.LayerModel], Callable[..., Dual]] = {
    layers.Relu: _relu,
    layers.LeakyRelu: _leaky_relu,
    layers.AbRelu: _abrelu,
    layers.Abs: _abs,
    layers.ArcCosine: _arc_cosine_layer,
    layers.Erf: _erf,
    layers.ExpNormalized: _exp_normalized,
    layers.Power: _power,
    layers.Square: _square,
}
"""The dual of every activation the engine evaluates, by layer model."""

HIGHEST_ARC_COSINE = 2
"""The highest order of arc-cosine kernel with a closed form here."""


def needs_variances(layer: layers.LayerModel) -> bool:
    """Return whether a layer's dual depends on the variances, not on the covariance alone."""
    return type(layer) in DUALS and not isinstance(layer, layers.Square)


def evaluate_dual(layer: layers.LayerModel, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of an activation layer and, if asked for, its derivative dual.

    Parameters
    ----------
    layer : LayerModel
        One of the keys of :data:`DUALS`.
    moments : Moments
        Covariance and variances at its input, (..., *P, *P').
    slope : bool
        Whether the derivative dual is needed (for the NTK).

    Returns
    -------
    value : array
        ``k(S, q, q')``, divided by ``n`` (0 where ``n = 0``) when the layer projects.
    derivative : array or None
        ``kd``, likewise.
    """
    value, derivative = DUALS[type(layer)](layer, moments, slope=slope)
    if getattr(layer, "project", False):
        xp = namespace_of(value)
        inverse = xp.divide(1, moments.norm, out=xp.zeros_like(value), where=moments.norm > 0)
        value *= inverse
        if derivative is not None:
            derivative = derivative * inverse
    return value, derivative
