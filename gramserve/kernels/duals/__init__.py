"""Dual activations: ``E[phi(u) phi(v)]`` of jointly Gaussian ``u``, ``v``, and for ``phi'``.

References
----------
Novak et al., "Neural Tangents", ICLR 2020 (derivative duals in the tangent kernel).
"""

from collections.abc import Callable

from gramserve.kernels.duals import angular, bells, numeric, patches, polynomials, waves
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

DUALS: dict[type[layers.LayerModel], Callable[..., Dual]] = {
    layers.Relu: angular.relu,
    layers.LeakyRelu: angular.leaky_relu,
    layers.AbRelu: angular.abrelu,
    layers.Abs: angular.absolute,
    layers.ArcCosine: angular.relu,
    layers.Sign: angular.sign,
    layers.Step: angular.step,
    layers.Erf: bells.erf,
    layers.SigmoidLike: bells.erf,
    layers.Gelu: bells.gelu,
    layers.Gaussian: bells.gaussian,
    layers.Gabor: bells.gabor,
    layers.Sin: waves.wave,
    layers.Cos: waves.wave,
    layers.Rbf: waves.rbf,
    layers.Exp: waves.exp,
    layers.Monomial: polynomials.polynomial,
    layers.Polynomial: polynomials.polynomial,
    layers.Hermite: polynomials.polynomial,
    layers.Numeric: numeric.numeric,
    layers.ExpNormalized: patches.exp_normalized,
    layers.Power: patches.power,
    layers.Square: patches.square,
    layers.LayerNorm: patches.layer_norm,
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


__all__ = ["DUALS", "Dual", "evaluate_dual"]
