"""Dual activations: ``E[phi(u) phi(v)]`` of jointly Gaussian ``u``, ``v``, and for ``phi'``.

``S`` is the covariance, ``q`` and ``q'`` the variances, ``n = sqrt(q q')``, ``c = S / n`` and
``theta`` its angle (:class:`gramserve.kernels.moments.Moments`). Everything a formula computes
is written over its own temporaries: these passes over memory are what the dense engine costs.

References
----------
Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009 (arc-cosine).
Williams, "Computing with Infinite Networks", NeurIPS 1996 (erf).
Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", ICML 2018 (leaky ReLU).
Mairal, "End-to-End Kernel Learning with Supervised Convolutional Kernel Networks", 2016 (exp).
Novak et al., "Neural Tangents", ICLR 2020 (derivative duals in the tangent kernel).
"""

from collections.abc import Callable
from math import pi

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

Dual = tuple[Array, Array | None]
"""The dual and the derivative dual (None where it was not asked for)."""


def _step(scale: float, moments: Moments, *, slope: bool) -> Dual:
    """Return ``scale (pi - theta)``; its derivative is 0 wherever it exists."""
    xp = namespace_of(moments.covariance)
    _, value = moments.polar()
    xp.subtract(pi, value, out=value)
    value *= scale
    return value, xp.zeros_like(value) if slope else None


def _ramp(scale: float, moments: Moments, *, slope: bool) -> Dual:
    """Return ``scale n (sin theta + (pi - theta) c)``, and ``scale (pi - theta)``."""
    xp = namespace_of(moments.covariance)
    sine, rest = moments.polar()
    xp.subtract(pi, rest, out=rest)
    rest *= scale
    sine *= scale
    value = xp.multiply(rest, moments.cosine, out=None if slope else rest)
    value += sine
    value *= moments.norm
    return value, rest if slope else None


def _ramp_squared(scale: float, moments: Moments, *, slope: bool) -> Dual:
    """Return ``scale n^2 (3 sin c + (pi - theta)(1 + 2 c^2))``, and 4 times the ramp's dual."""
    xp = namespace_of(moments.covariance)
    sine, value = moments.polar()
    xp.subtract(pi, value, out=value)
    value *= 1 + 2 * moments.cosine**2
    sine *= 3 * moments.cosine
    value += sine
    value *= scale
    value *= moments.norm
    value *= moments.norm
    return value, _ramp(4 * scale, moments, slope=False)[0] if slope else None


_ARC_COSINE = (_step, _ramp, _ramp_squared)

HIGHEST_ARC_COSINE = len(_ARC_COSINE) - 1
"""The highest order of arc-cosine kernel with a closed form here."""


def _arc_cosine(layer: layers.ArcCosine | layers.Relu, moments: Moments, *, slope: bool) -> Dual:
    order = layer.order if isinstance(layer, layers.ArcCosine) else 1
    scale = 1 / pi if layer.normalized else 1 / (2 * pi)
    return _ARC_COSINE[order](scale, moments, slope=slope)


def _piecewise_linear(a: float, b: float, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of ``a min(z, 0) + b max(z, 0)``.

    ``bend n (sin theta - theta c) + mean S`` with ``bend = (a - b)^2 / (2 pi)`` and
    ``mean = (a^2 + b^2) / 2``; the derivative is ``mean - bend theta``.
    """
    bend, mean = (a - b) ** 2 / (2 * pi), (a * a + b * b) / 2
    value, angle = moments.polar()
    derivative = mean - bend * angle if slope else None
    angle *= moments.cosine
    value -= angle
    value *= moments.norm
    value *= bend
    value += mean * moments.covariance
    return value, derivative


def _leaky_relu(layer: layers.LeakyRelu, moments: Moments, *, slope: bool) -> Dual:
    return _piecewise_linear(layer.alpha, 1.0, moments, slope=slope)


def _abrelu(layer: layers.AbRelu, moments: Moments, *, slope: bool) -> Dual:
    return _piecewise_linear(layer.a, layer.b, moments, slope=slope)


def _abs(layer: layers.Abs, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    return _piecewise_linear(-1.0, 1.0, moments, slope=slope)


def _erf(layer: layers.Erf, moments: Moments, *, slope: bool) -> Dual:
    """Return Williams' arc sine by its two legs.

    ``(1 + i q)(1 + i q') - (i S)^2`` with ``i = 2 b^2`` cancels for large variances; it is
    ``1 + i (q + q') + (i n sin theta)^2``, of which every term is positive.
    """
    xp = namespace_of(moments.covariance)
    inner = 2 * layer.b**2
    leg, _ = moments.polar()
    leg *= moments.norm
    leg *= inner
    # hypot does not overflow where the squares would.
    xp.hypot(leg, xp.sqrt(1 + inner * (moments.row_variance + moments.column_variance)), out=leg)
    value = inner * moments.covariance
    xp.arctan2(value, leg, out=value)
    value *= 2 * layer.a**2 / pi
    value += layer.c**2
    return value, (4 * layer.a**2 * layer.b**2 / pi) / leg if slope else None


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
    layers.Relu: _arc_cosine,
    layers.LeakyRelu: _leaky_relu,
    layers.AbRelu: _abrelu,
    layers.Abs: _abs,
    layers.ArcCosine: _arc_cosine,
    layers.Erf: _erf,
    layers.ExpNormalized: _exp_normalized,
    layers.Power: _power,
    layers.Square: _square,
}
"""The dual of every activation the engine evaluates, by layer model."""


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
        value = moments.over_norm(value)
        if derivative is not None:
            derivative = moments.over_norm(derivative)
    return value, derivative
