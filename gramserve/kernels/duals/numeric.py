"""Duals of named functions, by Gauss-Hermite quadrature.

With ``a_j(q) = E[phi(sqrt(q) Z) h_j(Z)]`` and normalised Hermite polynomials ``h_j``,
``E[phi(u) phi(v)] = sum_j a_j(q) a_j(q') c^j`` (Mehler); the derivative dual likewise from
``phi'``. Expectations are taken by the Gauss-Hermite rule of the layer's degree, and the sum ends
where that rule cannot tell further polynomials apart. So the dual is exact for polynomials below
the degree, and at ``c = 1`` it is the rule itself. The coefficients belong to single items: an
entry costs two operations a term, where a product rule evaluates the function at the square of
its nodes.

References
----------
Golub and Welsch, "Calculation of Gauss Quadrature Rules", 1969.
Daniely, Frostig and Singer, "Toward Deeper Understanding of Neural Networks", NeurIPS 2016.
Han, Zandieh, Lee, Novak, Xiao and Karbasi, "Fast Neural Kernel Embeddings for General
Activations", NeurIPS 2022.
"""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from gramserve.arrays import Array, namespace_of, to_host
from gramserve.errors import QuadratureWarning
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.functions import function_named
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

_LARGEST_ERROR = 1e-6
"""Relative error of ``E[phi^2]`` that is not warned of: less than float32 shows."""

_QUANTILES = 33
"""Variances of a block at which a rule is tried."""


@lru_cache(maxsize=8)
def _gauss_hermite(degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the nodes, and ``weight h_j`` at each, (nodes, degree).

    Eigenvalues and eigenvectors of the Jacobi matrix: the vectors hold ``sqrt(weight) h_j``, so
    that nothing overflows at the outer nodes.
    """
    nodes, vectors = eigh_tridiagonal(np.zeros(degree), np.sqrt(np.arange(1.0, degree)))
    vectors *= np.sign(vectors[0])
    return nodes, (vectors * vectors[0]).T


@lru_cache(maxsize=1)
def _panels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of a rule that tells whether another one has converged.

    Gauss-Legendre panels that halve towards 0, where functions are steep for large variances
    and where most have their kink.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    ends = np.concatenate([[0.0], 2.0 ** np.arange(-24, -2), np.arange(0.25, 13, 0.25)])
    half, middle = (ends[1:] - ends[:-1]) / 2, (ends[1:] + ends[:-1]) / 2
    z = (middle[:, None] + half[:, None] * nodes).ravel()
    w = (half[:, None] * weights).ravel() * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return np.concatenate([-z[::-1], z]), np.concatenate([w[::-1], w])


def hermite_coefficients(
    function: str, degree: int, variances: NDArray[np.float64], *, derivative: bool = False
) -> NDArray[np.float64]:
    """Return the Hermite coefficients of a function of Gaussians.

    Parameters
    ----------
    function : str
        A name of :data:`gramserve.kernels.functions.FUNCTIONS`.
    degree : int
        Nodes of the rule, and coefficients.
    variances : ndarray of float64, (n,)
        ``q``, at least 0.
    derivative : bool
        Those of the derivative of the function.

    Returns
    -------
    ndarray of float64, (n, degree)
        ``a_j(q)``; their squares add up to ``E[phi(sqrt(q) Z)^2]`` by the rule.
    """
    phi = function_named(function)[int(derivative)]
    nodes, table = _gauss_hermite(degree)
    return np.asarray(phi(np.sqrt(variances)[:, None] * nodes) @ table)


def check_quadrature(layer: layers.Numeric, variances: NDArray[Any], *, derivative: bool) -> None:
    """Warn when the rule has not converged for some of a layer's variances.

    Engines call this once a block: what a rule lacks changes slowly with the variance, so it is
    looked for at the quantiles.

    Parameters
    ----------
    layer : Numeric
        The layer.
    variances : ndarray
        ``q`` of items at its input, any shape.
    derivative : bool
        Whether the derivative's rule is needed, for the NTK.

    Warns
    -----
    QuadratureWarning
        When a second moment, the dual at ``c = 1``, is wrong by more than a millionth; names the
        worst variance.
    """
    if not variances.size:
        return
    found = np.quantile(variances.astype(np.float64), np.linspace(0, 1, _QUANTILES))
    for each in range(1 + derivative):
        _compare(layer, found, derivative=bool(each))


def _compare(layer: layers.Numeric, variances: NDArray[np.float64], *, derivative: bool) -> None:
    """Compare second moments with those of a finer rule."""
    phi = function_named(layer.function)[int(derivative)]
    nodes, weights = _panels()
    coefficients = hermite_coefficients(
        layer.function, layer.degree, variances, derivative=derivative
    )
    wanted = phi(np.sqrt(variances[:, None]) * nodes) ** 2 @ weights
    error = np.abs((coefficients * coefficients).sum(axis=1) - wanted)
    error = np.nan_to_num(error / np.where(wanted > 0, wanted, 1))
    worst = int(np.argmax(error))
    if error[worst] > _LARGEST_ERROR:
        what = f"the derivative of {layer.function}" if derivative else layer.function
        warnings.warn(
            f"numeric {layer.function}: the quadrature of degree {layer.degree} has a relative "
            f"error of {error[worst]:.1e} for the square of {what} at variance "
            f"{variances[worst]:.3g}; raise degree, scale the items down, or use the activation "
            "of that name where there is one",
            QuadratureWarning,
            stacklevel=4,
        )


def _side(layer: layers.Numeric, variance: Array, *, derivative: bool) -> NDArray[np.float64]:
    """Return (terms, *shape) coefficients of one side."""
    # Positions of one variance are common: zero padding, images of few values, normalisation.
    own = to_host(variance).astype(np.float64, copy=False)
    flat, back = np.unique(own.ravel(), return_inverse=True)
    flat = np.where(np.isfinite(flat), np.maximum(flat, 0), np.nan)
    found = hermite_coefficients(layer.function, layer.degree, flat, derivative=derivative)
    return found[back].T.reshape(layer.degree, *variance.shape)


def _sum(layer: layers.Numeric, moments: Moments, *, derivative: bool) -> Array:
    xp = namespace_of(moments.covariance)
    dtype = moments.covariance.dtype
    rows, columns = (
        xp.asarray(_side(layer, variance, derivative=derivative), dtype)
        for variance in (moments.row_variance, moments.column_variance)
    )
    value = xp.zeros_like(moments.covariance)
    for row, column in zip(rows[::-1], columns[::-1], strict=True):
        value *= moments.cosine
        value += row * column
    return value


def numeric(layer: layers.Numeric, moments: Moments, *, slope: bool) -> Dual:
    """Return ``sum_j a_j(q) a_j(q') c^j``, and the same of the derivative."""
    derivative = _sum(layer, moments, derivative=True) if slope else None
    return _sum(layer, moments, derivative=False), derivative
