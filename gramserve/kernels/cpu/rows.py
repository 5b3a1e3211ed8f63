"""What happens to one row of a plane: every position, in all lanes.

Arrays are flat; ``at`` is the element where the row begins, and neighbours are ``lanes`` elements
apart. Sums of columns live in a row of their own with ``margin`` zero positions on both sides, so
that windows over the edge need no test.
"""

from numba import njit

from gramserve.kernels.cpu.duals import q_of, r_of
from gramserve.kernels.cpu.lanes import (
    fill,
    load,
    magnitude,
    multiply_add,
    root,
    store,
    where_less,
)

JIT = {"nogil": True, "error_model": "numpy", "cache": True}
"""How everything here is compiled."""


@njit(**JIT)
def product_row(s, at, width, x, x_at, y, y_at, channels, lanes, scale):
    """``S = scale sum_c x[p, c] x'[p', c]``."""
    for j in range(width):
        total = load(y, y_at + j * channels * lanes) * x[x_at + j * channels]
        for c in range(1, channels):
            theirs = load(y, y_at + (j * channels + c) * lanes)
            total = multiply_add(theirs, fill(s, x[x_at + j * channels + c]), total)
        store(s, at + j * lanes, total * scale)


@njit(**JIT)
def fill_row(s, at, width, lanes, number):
    """Write one number everywhere."""
    value = fill(s, number)
    for j in range(width):
        store(s, at + j * lanes, value)


@njit(**JIT)
def add_row(t, s, at, width, lanes):
    """``T += S``."""
    for j in range(width):
        place = at + j * lanes
        store(t, place, load(t, place) + load(s, place))


@njit(**JIT)
def add_up_row(s, at, width, lanes):
    """Return the sum over the positions of a row."""
    total = fill(s, 0.0)
    for j in range(width):
        total = total + load(s, at + j * lanes)
    return total


@njit(**JIT)
def sum_columns(sums, s, at, pitch, first, last, step, width, margin, lanes):
    """Sum rows ``first, first + step, ..., last`` of a plane, column by column."""
    if last - first == 2 and step == 1:
        # Three rows are what nearly every network asks for; no inner loop then.
        at += first * pitch
        for j in range(width):
            place = at + j * lanes
            total = load(s, place) + load(s, place + pitch) + load(s, place + 2 * pitch)
            store(sums, (margin + j) * lanes, total)
        return
    for j in range(width):
        total = fill(s, 0.0)
        for r in range(first, last + 1, step):
            total = total + load(s, at + r * pitch + j * lanes)
        store(sums, (margin + j) * lanes, total)


@njit(**JIT)
def window_row(s, at, sums, width, margin, lanes, taps, stride, dilation, low, scale, bias):
    """``S = scale (sum of the taps) + bias``, from the sums of columns."""
    term = fill(s, bias)
    if taps == 3 and stride == 1 and dilation == 1:
        for j in range(width):
            place = (margin + j - low) * lanes
            total = load(sums, place) + load(sums, place + lanes) + load(sums, place + 2 * lanes)
            store(s, at + j * lanes, total * scale + term)
        return
    for j in range(width):
        place = (margin + stride * j - low) * lanes
        total = load(sums, place)
        for tap in range(1, taps):
            total = total + load(sums, place + tap * dilation * lanes)
        store(s, at + j * lanes, total * scale + term)


@njit(**JIT)
def relu_row(
    s, t, at, width, nx, ix, x_at, ny, iy, y_at, same, lanes, alpha, beta, tiny, project, ntk
):
    """``S' = n (alpha k1(c) + beta c)``, ``T' = T (alpha k0(c) + beta)``, in place.

    ``n = nx ny``, ``1 / n = ix iy`` (0 where n is 0), ``c = S / n`` but 1 in the lanes of ``same``.
    ``project`` leaves out the factor n of ``S'`` and divides ``T'`` by it. A cosine closer to 1
    or -1 than ``tiny``, its own rounding, is taken for that: k0 has an infinite slope there.
    """
    one, zero, exact = fill(s, 1.0), fill(s, 0.0), load(same, 0)
    shift = fill(s, beta)
    for j in range(width):
        place, theirs = at + j * lanes, y_at + j * lanes
        c = load(s, place) * (load(iy, theirs) * ix[x_at + j])
        c = multiply_add(exact, one - c, c)
        a = magnitude(c)
        a = where_less(a, one, a, one)
        rest = one - a
        rest = where_less(rest, fill(s, tiny), zero, rest)
        z = a + a - one
        w = root(rest)
        k1 = multiply_add(rest * w, q_of(s, z), where_less(zero, c, a, zero))
        k = multiply_add(where_less(c, zero, zero - a, a), shift, k1 * alpha)
        n = load(ny, theirs) * nx[x_at + j]
        if ntk:
            r = w * r_of(s, z)
            k0 = where_less(c, zero, r, one - r)
            tangent = load(t, place) * (k0 * alpha + shift)
            if project:
                tangent = where_less(zero, n, tangent / n, zero)
            store(t, place, tangent)
        if project:
            store(s, place, where_less(zero, n, k, zero))
        else:
            store(s, place, k * n)
