"""Dual activations of vectors: ``S' = k(S, q, q')`` and the slope ``kd`` of the tangent kernel.

All have one signature: ``S``; ``n = sqrt(q)`` and ``i = 1 / n`` (0 where n is 0) of the one item
and of the others; four parameters of the layer, which :mod:`gramserve.kernels.cpu.program`
writes, the rounding of a cosine, and a degree. A cosine closer to 1 or -1 than its rounding is
taken for that: the arc-cosine kernel of order 0 has an infinite slope there.

The formulas and their sources are those of :mod:`gramserve.kernels.duals`.
"""

from numba import njit

from gramserve.kernels.cpu.elementary import arcsine, clipped, exponential, q_of, r_of
from gramserve.kernels.cpu.lanes import JIT, magnitude, multiply_add, root, spread, where_less


@njit(**JIT)
def _orders(c, tiny):
    """Return the arc-cosine kernels of order 1 and 0, normalised to 1 at c = 1."""
    zero = spread(c, 0.0)
    rest = 1.0 - magnitude(c)
    # Also where rounding took the cosine beyond 1.
    rest = where_less(rest, tiny, zero, rest)
    w = root(rest)
    first = multiply_add(rest * w, q_of(rest), where_less(zero, c, c, zero))
    r = w * r_of(rest)
    return first, where_less(c, zero, r, 1.0 - r)


@njit(**JIT)
def ramp(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``a n k1(c)``: the rectifier, and the arc-cosine kernel of order 1."""
    first, step = _orders(s * i * i2, tiny)
    return first * (n * n2) * a, step * a


@njit(**JIT)
def bent(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``a n k1(c) + b S``: piecewise linear activations."""
    first, step = _orders(s * i * i2, tiny)
    return multiply_add(s, b, first * (n * n2) * a), multiply_add(step, a, b)


@njit(**JIT)
def stair(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``a k0(c)``: the step function."""
    return _orders(s * i * i2, tiny)[1] * a, spread(s, 0.0)


@njit(**JIT)
def ramp_squared(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``a n^2 (3 k1 c + k0 (1 - c^2))``: the arc-cosine kernel of order 2."""
    c = clipped(s * i * i2)
    first, step = _orders(c, tiny)
    norm = n * n2
    # 1 - c^2 from 1 - |c|, which is exact near 1.
    rest = (1.0 - magnitude(c)) * (1.0 + magnitude(c))
    value = multiply_add(first * c, spread(s, 3.0), step * rest)
    return value * norm * norm * a, first * norm * (4.0 * a)


@njit(**JIT)
def error_function(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``a asin(b S / h) + e`` and ``f / leg``, with ``h^2 = (1 + b q)(1 + b q')``.

    ``leg^2 = h^2 - (b S)^2 = 1 + b (q + q') + (b n sin theta)^2``: no term cancels. Everything
    is divided by the larger norm first where that is above 1, so that no square overflows.
    """
    one = spread(s, 1.0)
    c = clipped(s * i * i2)
    size = magnitude(c)
    sine = 1.0 - size
    sine = where_less(sine, tiny, spread(s, 0.0), sine) * (1.0 + size)
    larger = where_less(n, n2, n2, n)
    larger = where_less(larger, one, one, larger)
    shrink = one / larger
    mine, theirs = n * shrink, n2 * shrink
    # All three in units of larger: leg, h and b |S|.
    cross = b * mine * n2
    square = shrink * shrink + b * (mine * mine + theirs * theirs) + cross * cross * sine
    leg = root(square)
    opposite = cross * size
    whole = root(multiply_add(opposite, opposite, square))
    t = opposite / whole
    rest = square / (whole * (whole + opposite))
    angle = arcsine(where_less(one, t, one, t), rest)
    angle = where_less(c, spread(s, 0.0), spread(s, 0.0) - angle, angle)
    return multiply_add(angle, a, e), f * shrink / leg


@njit(**JIT)
def exponential_of_cosine(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``n exp(a c + b)``, and ``a exp(a c + b)``."""
    value = exponential(multiply_add(s * i * i2, a, b))
    return value * (n * n2), value * a


@njit(**JIT)
def power_of_cosine(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``n c^m`` and ``m c^(m - 1)``."""
    c = clipped(s * i * i2)
    value = spread(s, 1.0)
    for _ in range(m - 1):
        value = value * c
    slope = value * a
    if m > 0:
        value = value * c
    return value * (n * n2), slope


@njit(**JIT)
def square(s, n, i, n2, i2, a, b, e, f, tiny, m):
    """Return ``S^2`` and ``2 S``."""
    return s * s, s + s
