"""Duals of sines, cosines and exponentials.

With ``d = q + q' - 2 |S|``, which is not negative, ``exp(-(q + q') / 2)`` times a hyperbolic
function of ``S`` is an exponential of ``-d / 2`` times one of ``-2 |S|``: nothing overflows, and
``expm1`` keeps the digits of small images.

References
----------
Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007 (rbf).
Louart, Liao and Couillet, "A Random Matrix Approach to Neural Networks", 2018 (sin, cos).
"""

from math import cos as cosine
from math import sin as sine

from gramserve.arrays import namespace_of
from gramserve.kernels.duals.angular import Dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers


def wave_shares(layer: layers.Sin | layers.Cos) -> tuple[float, float]:
    """Return the shares of the hyperbolic cosine and sine, ``sin^2 c`` and ``cos^2 c``.

    Parameters
    ----------
    layer : Sin or Cos
        A cosine is a sine a quarter ahead.

    Returns
    -------
    tuple of float
        Their sum is 1.
    """
    even, odd = sine(layer.c) ** 2, cosine(layer.c) ** 2
    return (odd, even) if isinstance(layer, layers.Cos) else (even, odd)


def wave(layer: layers.Sin | layers.Cos, moments: Moments, *, slope: bool) -> Dual:
    """Return the dual of ``a sin(b z + c)`` or ``a cos(b z + c)``.

    ``k = a^2 exp(-b^2 (q + q') / 2) (sin^2 c cosh(b^2 S) + cos^2 c sinh(b^2 S))``, the derivative
    dual with hyperbolic sine and cosine exchanged and times ``b^2``.
    """
    xp = namespace_of(moments.covariance)
    even, odd = wave_shares(layer)
    square = layer.b**2
    size = xp.abs(moments.covariance)
    apart = moments.row_variance + moments.column_variance - 2 * size
    scale = xp.exp(-0.5 * square * xp.maximum(apart, 0))
    scale *= 0.5 * layer.a**2
    size *= -2 * square
    above = xp.exp(size)
    above += 1
    below = xp.expm1(size)
    below *= -xp.sign(moments.covariance)
    value = scale * (even * above + odd * below)
    return value, square * scale * (even * below + odd * above) if slope else None


def rbf(layer: layers.Rbf, moments: Moments, *, slope: bool) -> Dual:
    """Return ``exp(-gamma (q + q' - 2 S))``, and ``2 gamma`` times that."""
    xp = namespace_of(moments.covariance)
    value = moments.row_variance + moments.column_variance - 2 * moments.covariance
    xp.maximum(value, 0, out=value)
    value *= -layer.gamma
    xp.exp(value, out=value)
    return value, 2 * layer.gamma * value if slope else None


def exp(layer: layers.Exp, moments: Moments, *, slope: bool) -> Dual:
    """Return ``a^2 exp(b^2 (q + q' + 2 S) / 2)``, and ``b^2`` times that."""
    xp = namespace_of(moments.covariance)
    value = moments.row_variance + moments.column_variance + 2 * moments.covariance
    value *= 0.5 * layer.b**2
    xp.exp(value, out=value)
    value *= layer.a**2
    return value, layer.b**2 * value if slope else None
