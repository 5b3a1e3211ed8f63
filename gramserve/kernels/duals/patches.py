"""Kernels on patches that are not expectations: those of convolutional kernel networks.

References
----------
Mairal, "End-to-End Kernel Learning with Supervised Convolutional Kernel Networks", 2016 (exp).
Bietti and Mairal, "On the Inductive Bias of Neural Tangent Kernels", NeurIPS 2019.
"""

from gramserve.arrays import namespace_of
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers


def exp_normalized(layer: layers.ExpNormalized, moments: Moments, *, slope: bool) -> Dual:
    """Return ``n exp(gamma (c + shift))``."""
    xp = namespace_of(moments.covariance)
    value = moments.cosine + layer.shift
    value *= layer.gamma
    xp.exp(value, out=value)
    derivative = layer.gamma * value if slope else None
    value *= moments.norm
    return value, derivative


def power(layer: layers.Power, moments: Moments, *, slope: bool) -> Dual:
    """Return ``n c^degree``."""
    value = moments.norm * moments.cosine**layer.degree
    if not slope:
        return value, None
    if layer.degree == 0:
        return value, namespace_of(value).zeros_like(value)
    return value, layer.degree * moments.cosine ** (layer.degree - 1)


def square(layer: layers.Square, moments: Moments, *, slope: bool) -> Dual:  # noqa: ARG001
    """Return ``S^2``."""
    return moments.covariance**2, 2 * moments.covariance if slope else None


def layer_norm(layer: layers.LayerNorm, moments: Moments, *, slope: bool) -> Dual:
    """Return ``S / sqrt((q + eps) (q' + eps))``, 0 where that is 0 / 0.

    The variances are those of the positions, or their means over all positions.
    """
    xp = namespace_of(moments.covariance)
    rows, columns = moments.row_variance + layer.eps, moments.column_variance + layer.eps
    widths = xp.sqrt(rows) * xp.sqrt(columns)
    scale = xp.divide(1, widths, out=xp.zeros_like(widths), where=widths > 0)
    derivative = xp.broadcast_to(scale, moments.covariance.shape) if slope else None
    return moments.covariance * scale, derivative
