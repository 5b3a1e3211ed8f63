"""Duals of polynomials: powers of the covariance, with weights that depend on the variances.

``E[p(u) p(v)] = sum_j S^j G_j(q) G_j(q')`` with ``G_j(q) = E[p^(j)(sqrt(q) Z)] / sqrt(j!)``
(Mehler), and the derivative dual is the derivative by ``S`` (Price).

References
----------
Isserlis, "On a formula for the product-moment coefficient", Biometrika 1918 (moments).
Daniely, Frostig and Singer, "Toward Deeper Understanding of Neural Networks", NeurIPS 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, sqrt

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers


@dataclass(frozen=True)
class CovarianceSeries:
    """``G_j(q) = sum_i weights[j][i] (q - center)^i``."""

    weights: tuple[tuple[float, ...], ...]
    """For every power ``j`` of the covariance, from 0 on."""
    center: float
    """1 for Hermite polynomials, whose weights then have one term each; else 0."""


Layer = layers.Monomial | layers.Polynomial | layers.Hermite


def _raw(coefficients: Sequence[float]) -> CovarianceSeries:
    """Return the series of ``sum_k coefficients[k] z^k``: ``k = j + 2i`` gives one term."""
    degree = len(coefficients) - 1
    return CovarianceSeries(
        tuple(
            tuple(
                coefficients[j + 2 * i]
                * (factorial(j + 2 * i) / factorial(i) / 2**i / sqrt(factorial(j)))
                for i in range((degree - j) // 2 + 1)
            )
            for j in range(degree + 1)
        ),
        0.0,
    )


def _hermite(degree: int) -> CovarianceSeries:
    """Return the series of the normalised polynomial: ``E h_d^(j)`` is a power of ``q - 1``."""
    weights = []
    for j in range(degree + 1):
        half, odd = divmod(degree - j, 2)
        term = sqrt(factorial(degree)) / sqrt(factorial(j)) / factorial(half) / 2**half
        weights.append((0.0,) if odd else (*[0.0] * half, term))
    return CovarianceSeries(tuple(weights), 1.0)


@lru_cache(maxsize=128)
def covariance_series(layer: Layer) -> CovarianceSeries:
    """Return the weights of a polynomial activation.

    Parameters
    ----------
    layer : Monomial, Polynomial or Hermite
        The activation.

    Returns
    -------
    CovarianceSeries
        As many powers as the degree, plus one.

    Examples
    --------
    >>> covariance_series(layers.Monomial(degree=2)).weights
    ((0.0, 1.0), (0.0,), (1.4142135623730951,))
    """
    match layer:
        case layers.Monomial():
            return _raw([*[0.0] * layer.degree, 1.0])
        case layers.Hermite():
            return _hermite(layer.degree)
        case layers.Polynomial():
            return _raw(layer.coefficients)


def _weigh(terms: tuple[float, ...], variance: Array) -> Array:
    total = namespace_of(variance).full_like(variance, terms[-1])
    for term in terms[-2::-1]:
        total = total * variance + term
    return total


def polynomial(layer: Layer, moments: Moments, *, slope: bool) -> Dual:
    """Return ``sum_j S^j G_j(q) G_j(q')``, and its derivative by ``S``."""
    xp = namespace_of(moments.covariance)
    series = covariance_series(layer)
    sides = [v - series.center for v in (moments.row_variance, moments.column_variance)]
    value = xp.zeros_like(moments.covariance)
    derivative = xp.zeros_like(value) if slope else None
    for terms in reversed(series.weights):
        if derivative is not None:
            derivative *= moments.covariance
            derivative += value
        value *= moments.covariance
        if any(terms):
            rows, columns = (_weigh(terms, side) for side in sides)
            value += rows * columns
    return value, derivative
