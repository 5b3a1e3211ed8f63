"""Dual activations of vectors: ``S' = k(S, q, q')`` and the slope ``kd`` of the tangent kernel.

All have one signature: ``S``; ``n = sqrt(q)`` and ``i = 1 / n`` (0 where n is 0) of the one item
and of the others; four parameters of the layer, which :mod:`gramserve.kernels.cpu.activations`
gives, the rounding of a cosine, a degree, and where further numbers of the layer are. A cosine
closer to 1 or -1 than its rounding is taken for that: the arc-cosine kernel of order 0 has an
infinite slope there.

The formulas and their sources are those of :mod:`gramserve.kernels.duals`.
"""

from math import pi

from numba import njit

from gramserve.kernels.cpu.elementary import (
    arcsine,
    bounded_exponential,
    clipped,
    decay,
    exponential,
    hyperbolic,
    q_of,
    r_of,
)
from gramserve.kernels.cpu.lanes import JIT, magnitude, multiply_add, root, spread, where_less


@njit(**JIT)
def _orders(c, tiny):
    """Return the arc-cosine kernels of order 1 and 0, normalised to 1 at c = 1."""
    zero = spread(c, 0.0)
    whole = 1.0 - magnitude(c)
    # Also where rounding took the cosine beyond 1.
    rest = where_less(whole, tiny, zero, whole)
    w = root(rest)
    # Polynomials of what was not cut: an infinite cosine stays one, and gives NaN here.
    first = multiply_add(rest * w, q_of(whole), where_less(zero, c, c, zero))
    r = w * r_of(whole)
    return first, where_less(c, zero, r, 1.0 - r)


@njit(**JIT)
def ramp(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a n k1(c)``: the rectifier, and the arc-cosine kernel of order 1."""
    first, step = _orders(s * i * i2, tiny)
    return first * (n * n2) * a, step * a


@njit(**JIT)
def bent(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a n k1(c) + b S``: piecewise linear activations."""
    first, step = _orders(s * i * i2, tiny)
    return multiply_add(s, b, first * (n * n2) * a), multiply_add(step, a, b)


@njit(**JIT)
def stair(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a k0(c) + b``: step and sign."""
    return multiply_add(_orders(s * i * i2, tiny)[1], a, b), spread(s, 0.0)


@njit(**JIT)
def _horner(at, floats, place, count):
    """Return the polynomial with these coefficients, the constant first; 0 without any."""
    value = spread(at, 0.0)
    for k in range(count - 1, -1, -1):
        value = multiply_add(value, at, spread(at, floats[place + k]))
    return value


@njit(**JIT)
def _sine_squared(c, tiny):
    """Return ``1 - c^2`` from ``1 - |c|``, which is exact near 1."""
    size = magnitude(c)
    rest = 1.0 - size
    return where_less(rest, tiny, spread(c, 0.0), rest) * (1.0 + size)


@njit(**JIT)
def _power(base, m):
    """Return ``base^m``."""
    value = spread(base, 1.0)
    for _ in range(m):
        value = value * base
    return value


@njit(**JIT)
def ramp_squared(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a n^2 (3 k1 c + k0 (1 - c^2))``: the arc-cosine kernel of order 2."""
    c = clipped(s * i * i2)
    first, step = _orders(c, tiny)
    norm = n * n2
    value = multiply_add(first * c, spread(s, 3.0), step * _sine_squared(c, tiny))
    return value * norm * norm * a, first * norm * (4.0 * a)


@njit(**JIT)
def ramp_power(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a n^m (A k0 + B sin / pi)``, and ``b n^(m - 1)`` times the same of the order below.

    Behind the four numbers stand the coefficients of ``A`` and ``B``, and of those of the order
    below: :func:`gramserve.kernels.duals.angular.arc_cosine_polynomials`.
    """
    c = clipped(s * i * i2)
    step = _orders(c, tiny)[1]
    sine = root(_sine_squared(c, tiny)) * (1 / pi)
    norm = n * n2
    rest, below = place + 4, place + 5 + 2 * m
    value = _horner(c, floats, rest, m + 1) * step
    value = multiply_add(_horner(c, floats, rest + m + 1, m), sine, value)
    slope = _horner(c, floats, below, m) * step
    slope = multiply_add(_horner(c, floats, below + m, m - 1), sine, slope)
    lower = _power(norm, m - 1)
    return value * a * lower * norm, slope * b * lower


@njit(**JIT)
def _gap(s, n, n2):
    """Return ``n n' - S``, at least 0, rounded once; NaN where ``S`` is not finite.

    Also 0 where ``S`` is ``n n'`` as that is rounded: an item compared with itself.
    """
    product = n * n2
    gap = multiply_add(n, n2, spread(s, 0.0) - s)
    return where_less(s, product, gap, s * 0.0)


@njit(**JIT)
def _triangle(s, n, i, n2, i2, b):
    """Return the legs ``b S`` and ``leg`` of the triangle that bells and error functions share.

    ``leg^2 = (1 + b q)(1 + b q') - (b S)^2 = 1 + b (q + q') + (b n sin theta)^2``: no term
    cancels. Everything is divided by the larger norm where that is above 1, so that no square
    overflows.

    Returns
    -------
    c, size, sine
        Cosine, its magnitude, and ``sin^2 theta``.
    shrink, mine, theirs
        One over the larger norm, and both norms times that.
    cross, square, leg
        ``b n`` and the leg over the larger norm, the latter with its square.
    """
    one = spread(s, 1.0)
    c = clipped(s * i * i2)
    size = magnitude(c)
    # From the gap, because 1 - |c| has lost too much where variances are large.
    sine = _gap(magnitude(s), n, n2) * i * i2 * (1.0 + size)
    larger = where_less(n, n2, n2, n)
    larger = where_less(larger, one, one, larger)
    shrink = one / larger
    mine, theirs = n * shrink, n2 * shrink
    cross = b * mine * n2
    square = shrink * shrink + b * (mine * mine + theirs * theirs) + cross * cross * sine
    return c, size, sine, shrink, mine, theirs, cross, square, root(square)


@njit(**JIT)
def _triangle_angle(c, size, cross, square):
    """Return the angle ``asin(b S / h)``, of the sign of ``S``."""
    one, zero = spread(c, 1.0), spread(c, 0.0)
    opposite = cross * size
    whole = root(multiply_add(opposite, opposite, square))
    t = opposite / whole
    rest = square / (whole * (whole + opposite))
    angle = arcsine(where_less(one, t, one, t), rest)
    return where_less(c, zero, zero - angle, angle)


@njit(**JIT)
def error_function(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a asin(b S / h) + e`` and ``f / leg``, with ``h^2 = (1 + b q)(1 + b q')``."""
    c, size, _, shrink, _, _, cross, square, leg = _triangle(s, n, i, n2, i2, b)
    return multiply_add(_triangle_angle(c, size, cross, square), a, e), f * shrink / leg


@njit(**JIT)
def error_unit(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return the dual of ``z Phi(z)``: the formula is in :mod:`gramserve.kernels.duals.bells`."""
    one = spread(s, 1.0)
    c, size, sine, shrink, _, _, cross, square, leg = _triangle(s, n, i, n2, i2, one)
    both = multiply_add(
        _triangle_angle(c, size, cross, square), spread(s, 0.5 / pi), spread(s, 0.25)
    )
    across = n * n2 * root(sine)
    rest = one / multiply_add(n, n, one) + one / multiply_add(n2, n2, one)
    lean, height = c * cross / leg, cross * root(sine) / leg
    # S times the rest is near 1; times the slope it would leave float32 before.
    value = multiply_add(across, height, lean * (s * rest)) * (0.5 / pi)
    inverse = shrink / leg
    slope = multiply_add(lean * (0.5 / pi), multiply_add(inverse, inverse, rest), both)
    return multiply_add(s, both, value), slope


@njit(**JIT)
def bell(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a / leg`` and ``f S / leg^3``: ``exp`` of a negative square."""
    c, _, _, shrink, mine, theirs, _, _, leg = _triangle(s, n, i, n2, i2, b)
    inverse = shrink / leg
    # Each factor is at most 1, but for 1 / leg; their product would leave float32 before.
    return inverse * a, (c * mine / leg) * (theirs / leg) * f * inverse


@njit(**JIT)
def rippled_bell(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return the dual of ``exp(-z^2) sin(z)``: see :mod:`gramserve.kernels.duals.bells`."""
    c, _, sine, shrink, mine, theirs, cross, square, leg = _triangle(s, n, i, n2, i2, b)
    inner, outer = mine * mine + theirs * theirs, shrink * shrink
    t = c * (mine / leg) * (theirs / leg)
    height = cross / leg
    spread_out = multiply_add(height * height, sine, inner / square)
    scale = exponential(spread_out * -0.5) * shrink / leg
    odd, even = hyperbolic(t)
    slope = odd * (t * 4.0) * (1.0 + (outer + inner) / square)
    slope = multiply_add(even, multiply_add(t * 8.0, t, outer / square), slope)
    return scale * odd, scale * slope


@njit(**JIT)
def _apart(s, n, n2):
    """Return ``q + q' - 2 S = (n - n')^2 + 2 (n n' - S)``, at least 0: nothing cancels."""
    between = n - n2
    return multiply_add(between, between, 2.0 * _gap(s, n, n2))


@njit(**JIT)
def wave(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return the dual of a sine or cosine: see :mod:`gramserve.kernels.duals.waves`.

    ``a`` is half of the square of the height, ``b`` the square of the frequency, ``e`` and ``f``
    the shares of hyperbolic cosine and sine.
    """
    zero, size = spread(s, 0.0), magnitude(s)
    scale = exponential(_apart(size, n, n2) * b * -0.5) * a
    falling, rising = decay(size * b * 2.0)
    above = 1.0 + falling
    below = where_less(s, zero, zero - rising, rising)
    value = multiply_add(e, above, f * below)
    return scale * value, scale * b * multiply_add(e, below, f * above)


@njit(**JIT)
def distance(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``exp(-a (q + q' - 2 S))`` and ``b`` times that: the radial kernel."""
    value = exponential(_apart(s, n, n2) * a * -1.0)
    return value, value * b


@njit(**JIT)
def growth(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``a exp(e (q + q' + 2 S))`` and ``b`` times that: the exponential."""
    value = bounded_exponential(_apart(spread(s, 0.0) - s, n, n2) * e) * a
    return value, value * b


@njit(**JIT)
def series(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``sum_j S^j G_j(q) G_j(q')`` and its derivative by ``S``: polynomials.

    ``G_j`` are polynomials of ``q - a``; behind the four numbers stand their coefficients,
    ``(m - j) // 2 + 1`` each, from ``j = 0`` on.
    """
    mine, theirs = multiply_add(n, n, a * -1.0), multiply_add(n2, n2, a * -1.0)
    value, slope = spread(s, 0.0), spread(s, 0.0)
    at = place + 4
    for j in range(m + 1):
        at += (m - j) // 2 + 1
    for j in range(m, -1, -1):
        count = (m - j) // 2 + 1
        at -= count
        slope = multiply_add(slope, s, value)
        weight = _horner(mine, floats, at, count) * _horner(theirs, floats, at, count)
        value = multiply_add(value, s, weight)
    return value, slope


@njit(**JIT)
def normalise(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``S / sqrt((q + a)(q' + a))`` and the factor, 0 where that is 0 / 0."""
    zero, one = spread(s, 0.0), spread(s, 1.0)
    width = root(multiply_add(n, n, a)) * root(multiply_add(n2, n2, a))
    scale = where_less(zero, width, one / where_less(zero, width, width, one), zero)
    return s * scale, scale


@njit(**JIT)
def exponential_of_cosine(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``n exp(a c + b)``, and ``a exp(a c + b)``."""
    value = exponential(multiply_add(s * i * i2, a, b))
    return value * (n * n2), value * a


@njit(**JIT)
def power_of_cosine(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
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
def square(s, n, i, n2, i2, a, b, e, f, tiny, m, floats, place):
    """Return ``S^2`` and ``2 S``."""
    return s * s, s + s
