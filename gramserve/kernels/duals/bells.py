"""Duals of the error function and of what is built of it, and of the Gaussian and Gabor bells.

All have ``leg = sqrt((1 + i q)(1 + i q') - (i S)^2)`` in them. As it stands it cancels for large
variances; it is ``1 + i (q + q') + (i n sin theta)^2``, of which no term is negative, and its
root is taken by hypot, which does not overflow where the squares would.

References
----------
Williams, "Computing with Infinite Networks", NeurIPS 1996 (erf).
Tsuchida, Pearce, van der Heide, Roosta and Gallagher, "Avoiding Kernel Fixed Points: Computing
with ELU and GELU Infinite Networks", AAAI 2021 (gelu).
Novak et al., "Neural Tangents", ICLR 2020.
"""

from math import pi

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

SIGMOID_WIDTH = 2.4020563531719796
"""``(erf(z / width) + 1) / 2`` is closest to the logistic function."""


def _across(inner: float, moments: Moments) -> Array:
    """Return ``i n sin theta``, the leg's part that depends on the pair; a new array."""
    across, _ = moments.polar()
    across *= moments.norm
    across *= inner
    return across


def _near(inner: float, moments: Moments) -> Array:
    """Return ``sqrt(1 + i (q + q'))``, the leg's other part."""
    xp = namespace_of(moments.covariance)
    return xp.sqrt(1 + inner * (moments.row_variance + moments.column_variance))


def erf_numbers(layer: layers.Erf | layers.SigmoidLike) -> tuple[float, float, float]:
    """Return ``2 a^2 / pi``, ``i = 2 b^2`` and ``c^2``.

    Parameters
    ----------
    layer : Erf or SigmoidLike
        A ``sigmoid_like`` is ``erf`` with ``a = c = 1/2``.

    Returns
    -------
    tuple of float
        Factor of the angle, factor of covariances, constant.
    """
    a, b, c = 0.5, 1 / SIGMOID_WIDTH, 0.5
    if isinstance(layer, layers.Erf):
        a, b, c = layer.a, layer.b, layer.c
    return 2 * a**2 / pi, 2 * b**2, c**2


def erf(layer: layers.Erf | layers.SigmoidLike, moments: Moments, *, slope: bool) -> Dual:
    """Return ``(2 a^2 / pi) asin(i S / sqrt((1 + i q)(1 + i q'))) + c^2``, ``i = 2 b^2``.

    The arc sine is that of the triangle with the legs ``i S`` and
    ``sqrt((1 + i q)(1 + i q') - (i S)^2)``. The constant ``c`` adds no mixed term, since the error
    function is odd.
    """
    xp = namespace_of(moments.covariance)
    height, inner, shift = erf_numbers(layer)
    leg = _across(inner, moments)
    xp.hypot(leg, _near(inner, moments), out=leg)
    value = inner * moments.covariance
    xp.arctan2(value, leg, out=value)
    value *= height
    value += shift
    return value, (height * inner) / leg if slope else None


def gelu(layer: layers.Gelu, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return the dual of ``z Phi(z)``.

    By Gaussian integration by parts, with ``r = 1 / (1 + q) + 1 / (1 + q')`` and the leg for
    ``i = 1``,

    ``k = S (1/4 + asin(S / h) / (2 pi)) + ((n sin theta)^2 + S^2 r) / (2 pi leg)``,
    ``kd = 1/4 + asin(S / h) / (2 pi) + (S / (2 pi leg)) (r + 1 / leg^2)``.
    """
    xp = namespace_of(moments.covariance)
    covariance = moments.covariance
    across = _across(1.0, moments)
    leg = xp.hypot(across, _near(1.0, moments))
    both = xp.arctan2(covariance, leg)
    both /= 2 * pi
    both += 0.25
    rest = 1 / (1 + moments.row_variance) + 1 / (1 + moments.column_variance)
    lean = covariance / leg
    value = across
    value *= across / leg
    # S times the rest is near 1; times the slope it would leave float32 before.
    value += lean * (covariance * rest)
    value /= 2 * pi
    value += covariance * both
    if not slope:
        return value, None
    lean *= rest + 1 / leg**2
    lean /= 2 * pi
    both += lean
    return value, both


def gaussian(layer: layers.Gaussian, moments: Moments, *, slope: bool) -> Dual:
    """Return ``a^2 / leg``, the leg for ``i = -2 b``, and ``4 a^2 b^2 S / leg^3``.

    For positive ``b`` the expectation is finite only while ``1 - 2 b q``, ``1 - 2 b q'`` and the
    square of the leg are positive; elsewhere the values are not numbers.
    """
    xp = namespace_of(moments.covariance)
    a, b = layer.a, layer.b
    if b <= 0:
        leg = xp.hypot(_across(-2 * b, moments), _near(-2 * b, moments))
    else:
        widths = xp.sqrt(1 - 2 * b * moments.row_variance)
        widths = widths * xp.sqrt(1 - 2 * b * moments.column_variance)
        square = widths * widths - (2 * b * moments.covariance) ** 2
        leg = xp.where(square > 0, xp.sqrt(square), xp.nan)
    value = a**2 / leg
    return value, 4 * b**2 * (moments.covariance / leg) * (value / leg) if slope else None


def gabor(layer: layers.Gabor, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return the dual of ``exp(-z^2) sin(z)``.

    The two bells tilt the Gaussian to covariance ``t = S / leg^2`` and mean variance
    ``v / 2``, ``v = (q + q' + (2 n sin theta)^2) / leg^2``, the leg for ``i = 2``; what remains is
    the dual of the sine, ``k = exp(-v / 2) sinh(t) / leg``. ``|t|`` is at most 1/4.
    """
    xp = namespace_of(moments.covariance)
    across = _across(2.0, moments)
    leg = xp.hypot(across, _near(2.0, moments))
    total = moments.row_variance + moments.column_variance
    tilted = moments.covariance / leg / leg
    across /= leg
    across *= across
    across += total / leg / leg
    across *= -0.5
    scale = xp.exp(across, out=across)
    scale /= leg
    odd, even = xp.sinh(tilted), xp.cosh(tilted)
    value = scale * odd
    if not slope:
        return value, None
    # 1 - v = (1 + q + q') / leg^2, so that nothing cancels.
    odd *= 4 * tilted * (1 + (1 + total) / leg / leg)
    even *= 1 / leg**2 + 8 * tilted**2
    return value, scale * (odd + even)
