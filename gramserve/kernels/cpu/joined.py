"""A 3 x 3 convolution in place and the dual behind it, in one loop.

What stays in registers between the two need not be written and read again, and their factors are
multiplied into the numbers of the one item beforehand.
"""

from numba import njit

from gramserve.kernels.cpu import duals
from gramserve.kernels.cpu.convolutions import three
from gramserve.kernels.cpu.elementary import exponential, q_of, r_of
from gramserve.kernels.cpu.lanes import (
    JIT,
    fill,
    load,
    magnitude,
    multiply_add,
    root,
    store,
    take,
    where_less,
)


@njit(**JIT)
def ramp_in_place(
    s, at, size, blank, gain, cosine, x_at, x_pitch, norm, inverse, y_at, y_pitch, bias, lanes
):
    """Convolve 3 x 3 and take the rectifier's dual at once, without tangent kernel.

    ``S' = (a n) n' k1(c)`` with ``c = (sum + bias) (scale i) i'``; the factors in brackets are
    what ``gain`` and ``cosine`` hold.
    """
    height, width = size
    row = width * lanes
    term, zero, one = fill(s, bias), fill(s, 0.0), fill(s, 1.0)
    for r in range(height):
        middle = at + r * row
        upper = middle - row if r > 0 else blank
        lower = middle + row if r + 1 < height else blank
        mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
        left, here = zero, three(s, upper, middle, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = three(s, upper + n, middle + n, lower + n)
            total = (left + here) + (right + term)
            left, here = here, right
            c = total * take(cosine, mine + j) * load(inverse, theirs + k)
            whole = one - magnitude(c)
            rest = where_less(zero, whole, whole, zero)
            first = where_less(zero, c, c, zero)
            # Not of the rest: an infinite sum gives NaN.
            first = multiply_add(rest * root(rest), q_of(whole), first)
            n = load(norm, theirs + k) * take(gain, mine + j)
            store(s, middle - row + k, first * n)


@njit(**JIT)
def exponential_in_place(
    s, at, size, blank, norms, cosine, x_at, x_pitch, norm, inverse, y_at, y_pitch, bias, shift,
    lanes,
):  # fmt: skip
    """Convolve 3 x 3 and take the dual of exp at once, without tangent kernel.

    ``S' = n n' exp((sum + bias) (scale a i) i' + shift)``; ``cosine`` holds what is in brackets.
    """
    height, width = size
    row = width * lanes
    term, zero, more = fill(s, bias), fill(s, 0.0), fill(s, shift)
    for r in range(height):
        middle = at + r * row
        upper = middle - row if r > 0 else blank
        lower = middle + row if r + 1 < height else blank
        mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
        left, here = zero, three(s, upper, middle, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = three(s, upper + n, middle + n, lower + n)
            total = (left + here) + (right + term)
            left, here = here, right
            c = total * take(cosine, mine + j)
            value = exponential(multiply_add(c, load(inverse, theirs + k), more))
            n = load(norm, theirs + k) * take(norms, mine + j)
            store(s, middle - row + k, value * n)


def _tangent_ramp(has_tangent):
    """Compile the loop with a tangent kernel, or for one that is still zero."""

    @njit(**JIT)
    def loop(
        s, t, at, size, blank, gain, cosine, x_at, x_pitch, norm, inverse, y_at, y_pitch, bias,
        lanes, factor, train, tiny,
    ):  # fmt: skip
        height, width = size
        row = width * lanes
        term, zero, one = fill(s, bias), fill(s, 0.0), fill(s, 1.0)
        by, own, small = fill(s, factor), fill(s, train), fill(s, tiny)
        for r in range(height):
            middle = at + r * row
            upper = middle - row if r > 0 else blank
            lower = middle + row if r + 1 < height else blank
            mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
            left, here = zero, three(s, upper, middle, lower)
            t_left, t_here = zero, zero
            if has_tangent:
                t_here = three(t, upper, middle, lower)
            for j in range(width):
                k = j * lanes
                right, t_right = zero, zero
                if j + 1 < width:
                    n = k + lanes
                    right = three(s, upper + n, middle + n, lower + n)
                    if has_tangent:
                        t_right = three(t, upper + n, middle + n, lower + n)
                total = (left + here) + (right + term)
                left, here = here, right
                c = total * take(cosine, mine + j) * load(inverse, theirs + k)
                whole = one - magnitude(c)
                rest = where_less(whole, small, zero, whole)
                w = root(rest)
                first = where_less(zero, c, c, zero)
                first = multiply_add(rest * w, q_of(whole), first)
                angle = w * r_of(whole)
                step = where_less(c, zero, angle, one - angle)
                n = load(norm, theirs + k) * take(gain, mine + j)
                tangent = total * own
                if has_tangent:
                    tangent = multiply_add(total, own, t_left + t_here + t_right)
                    t_left, t_here = t_here, t_right
                store(s, middle - row + k, first * n)
                store(t, middle - row + k, tangent * (step * by))

    return loop


tangent_ramp_in_place = _tangent_ramp(True)
"""Convolve 3 x 3 and take the rectifier's dual of both kernels at once.

As :func:`ramp_in_place`, with ``T' = (sum of T + train (sum + bias)) factor k0(c)``."""

first_tangent_ramp_in_place = _tangent_ramp(False)
"""The same while the tangent kernel is still zero: ``T' = train (sum + bias) factor k0(c)``."""


def _joined_loop(dual):
    """Compile the loop that convolves 3 x 3 in place and takes a dual of both kernels at once."""

    @njit(**JIT)
    def loop(
        s, t, at, size, blank, nx, ix, x_at, x_pitch, ny, iy, y_at, y_pitch, factor, bias, train,
        floats, place, degree, tiny, lanes,
    ):  # fmt: skip
        height, width = size
        row = width * lanes
        by, term, zero = fill(s, factor), fill(s, bias), fill(s, 0.0)
        own = fill(s, train)
        a, b = fill(s, floats[place]), fill(s, floats[place + 1])
        e, f = fill(s, floats[place + 2]), fill(s, floats[place + 3])
        small = fill(s, tiny)
        for r in range(height):
            middle = at + r * row
            upper = middle - row if r > 0 else blank
            lower = middle + row if r + 1 < height else blank
            mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
            left, here = zero, three(s, upper, middle, lower)
            t_left, t_here = zero, three(t, upper, middle, lower)
            for j in range(width):
                k = j * lanes
                right, t_right = zero, zero
                if j + 1 < width:
                    n = k + lanes
                    right = three(s, upper + n, middle + n, lower + n)
                    t_right = three(t, upper + n, middle + n, lower + n)
                total = multiply_add(left + here + right, by, term)
                tangent = (t_left + t_here + t_right) * by
                tangent = multiply_add(total, own, tangent)
                left, here, t_left, t_here = here, right, t_here, t_right
                value, slope = dual(
                    total, take(nx, mine + j), take(ix, mine + j), load(ny, theirs + k),
                    load(iy, theirs + k), a, b, e, f, small, degree, floats, place,
                )  # fmt: skip
                store(s, middle - row + k, value)
                store(t, middle - row + k, tangent * slope)

    return loop


tangent_exponential_in_place = _joined_loop(duals.exponential_of_cosine)
"""Convolve 3 x 3 and take the dual of exp of both kernels at once."""
