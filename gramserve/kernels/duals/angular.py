"""Duals that are functions of the angle: rectifiers of any power, steps and signs.

``S`` is the covariance, ``q`` and ``q'`` the variances, ``n = sqrt(q q')``, ``c = S / n`` and
``theta`` its angle (:class:`gramserve.kernels.moments.Moments`). Everything a formula computes
is written over its own temporaries: these passes over memory are what the dense engine costs.

References
----------
Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009 (arc-cosine).
Tsuchida et al., "Invariance of Weight Distributions in Rectified MLPs", ICML 2018 (leaky ReLU).
"""

from functools import lru_cache
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


@lru_cache(maxsize=64)
def arc_cosine_polynomials(order: int) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return the polynomials of an arc-cosine kernel.

    ``J_m = (2m - 1)!! (A(c) (pi - theta) + B(c) sin theta)``. Since ``J_m / sin^(2m+1)`` is the
    m-th derivative of ``(pi - theta) / sin theta`` by ``c``, the unscaled polynomials are
    ``A' (1 - c^2) + (2m + 1) c A`` and ``A + B' (1 - c^2) + 2m c B`` of those before.

    Parameters
    ----------
    order : int
        ``m``, at least 0.

    Returns
    -------
    scale : float
        ``(2m - 1)!!``: without it the coefficients would leave float32 at order 20.
    rest, sine : tuple of float
        Coefficients of ``A`` and ``B``, from the constant on; none is negative.

    References
    ----------
    Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009, equation 4.

    Examples
    --------
    >>> arc_cosine_polynomials(2)
    (3, (0.3333333333333333, 0.0, 0.6666666666666666), (0.0, 1.0))
    """
    rest, sine, scale = [1], [0], 1
    for m in range(order):
        scale *= max(1, 2 * m + 1)
        sine = _add(rest, _add(_slope_times_one_minus_square(sine), _times_c(sine, 2 * m)))
        rest = _add(_slope_times_one_minus_square(rest), _times_c(rest, 2 * m + 1))
    return (
        scale,
        tuple(coefficient / scale for coefficient in rest[: order + 1]),
        tuple(coefficient / scale for coefficient in sine[: max(1, order)]),
    )


def _add(first: list[int], second: list[int]) -> list[int]:
    length = max(len(first), len(second))
    pad = [[*part, *[0] * (length - len(part))] for part in (first, second)]
    return [a + b for a, b in zip(*pad, strict=True)]


def _times_c(polynomial: list[int], factor: int) -> list[int]:
    return [0, *(factor * coefficient for coefficient in polynomial)]


def _slope_times_one_minus_square(polynomial: list[int]) -> list[int]:
    slope = [power * coefficient for power, coefficient in enumerate(polynomial)][1:]
    return _add(slope, [0, 0, *(-coefficient for coefficient in slope)])


def _horner(coefficients: tuple[float, ...], at: Array) -> Array:
    xp = namespace_of(at)
    value = xp.full_like(at, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value *= at
        value += coefficient
    return value


def _ramp_power(order: int, scale: float, moments: Moments, *, slope: bool) -> Dual:
    """Return ``scale n^m J_m``, and ``m^2`` times that of the order below."""
    xp = namespace_of(moments.covariance)
    factor, rest, sine = arc_cosine_polynomials(order)
    value, angle = moments.polar()
    value *= _horner(sine, moments.cosine)
    xp.subtract(pi, angle, out=angle)
    angle *= _horner(rest, moments.cosine)
    value += angle
    value *= scale * factor
    value *= moments.norm**order
    return value, arc_cosine(order - 1, order**2 * scale, moments)[0] if slope else None


def arc_cosine(order: int, scale: float, moments: Moments, *, slope: bool = False) -> Dual:
    """Return ``scale n^m J_m(theta)`` and its derivative dual.

    Parameters
    ----------
    order : int
        ``m``.
    scale : float
        ``1 / (2 pi)`` for the expectation, ``1 / pi`` for Cho and Saul's kernel.
    moments : Moments
        Covariance and variances.
    slope : bool
        Whether the derivative dual is needed.

    Returns
    -------
    value : array
        The dual of ``max(z, 0)^m``.
    derivative : array or None
        ``scale m^2 n^(m-1) J_(m-1)``; 0 for the step function.
    """
    if order == 0:
        return _step(scale, moments, slope=slope)
    if order == 1:
        return _ramp(scale, moments, slope=slope)
    return _ramp_power(order, scale, moments, slope=slope)


def relu(layer: layers.ArcCosine | layers.Relu, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of a rectifier, or of a power of it."""
    order = layer.order if isinstance(layer, layers.ArcCosine) else 1
    return arc_cosine(order, 1 / pi if layer.normalized else 1 / (2 * pi), moments, slope=slope)


def step(layer: layers.Step, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return ``(pi - theta) / (2 pi)``."""
    return _step(1 / (2 * pi), moments, slope=slope)


def sign(layer: layers.Sign, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return ``1 - 2 theta / pi``."""
    value, derivative = _step(2 / pi, moments, slope=slope)
    value -= 1
    return value, derivative


def piecewise_linear(a: float, b: float, moments: Moments, *, slope: bool) -> Dual:
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


def leaky_relu(layer: layers.LeakyRelu, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of ``max(z, 0) + alpha min(z, 0)``."""
    return piecewise_linear(layer.alpha, 1.0, moments, slope=slope)


def abrelu(layer: layers.AbRelu, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of ``a min(z, 0) + b max(z, 0)``."""
    return piecewise_linear(layer.a, layer.b, moments, slope=slope)


def absolute(layer: layers.Abs, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return the dual of ``|z|``."""
    return piecewise_linear(-1.0, 1.0, moments, slope=slope)
