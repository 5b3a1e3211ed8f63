"""What happens to one plane: loops over its rows and columns, one vector of items an entry.

Arrays are flat. ``at`` is the element where a plane begins, its rows follow each other without
gaps, and neighbours are ``lanes`` elements apart. The fast convolution writes every row where the
row above it was, so that a plane moves up by one row, needs no second buffer and stays in the
first cache; ``blank`` is where a row of zeros lies, which stands above the first row and below
the last.

The one item's numbers are read by :func:`gramserve.kernels.cpu.lanes.take`: broadcast where its
array is flat, vectors where it is a table.
"""

from numba import njit

from gramserve.kernels.cpu import duals
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
def product_plane(s, at, size, x, x_at, x_pitch, y, y_at, y_pitch, channels, scale, lanes):
    """``S = scale sum_c x[p, c] x'[p', c]``; positions of one item are ``pitch`` to a row."""
    height, width = size
    factor = fill(s, scale)
    for r in range(height):
        to = at + r * width * lanes
        mine = (x_at + r * x_pitch) * channels
        theirs = (y_at + r * y_pitch) * channels * lanes
        if channels == 3:
            for j in range(width):
                k, v = mine + 3 * j, theirs + 3 * j * lanes
                total = take(x, k) * load(y, v)
                total = multiply_add(take(x, k + 1), load(y, v + lanes), total)
                total = multiply_add(take(x, k + 2), load(y, v + 2 * lanes), total)
                store(s, to + j * lanes, total * factor)
        else:
            for j in range(width):
                k, v = mine + channels * j, theirs + channels * j * lanes
                total = take(x, k) * load(y, v)
                for c in range(1, channels):
                    total = multiply_add(take(x, k + c), load(y, v + c * lanes), total)
                store(s, to + j * lanes, total * factor)


@njit(**JIT)
def clear(s, at, count, lanes):
    """Write zeros."""
    zero = fill(s, 0.0)
    for j in range(count):
        store(s, at + j * lanes, zero)


@njit(**JIT)
def copy(out, to, s, at, count, lanes):
    """Copy vectors."""
    for j in range(count):
        store(out, to + j * lanes, load(s, at + j * lanes))


@njit(**JIT)
def add(out, to, s, at, count, weight, lanes):
    """Add vectors times a weight to others."""
    factor = fill(s, weight)
    for j in range(count):
        place = to + j * lanes
        store(out, place, multiply_add(load(s, at + j * lanes), factor, load(out, place)))


@njit(**JIT)
def scale(s, at, count, factor, bias, lanes):
    """``S = factor S + bias``."""
    by, term = fill(s, factor), fill(s, bias)
    for j in range(count):
        store(s, at + j * lanes, multiply_add(load(s, at + j * lanes), by, term))


@njit(**JIT)
def add_up(s, at, height, width, lanes):
    """Return the sum of a plane: sums of rows first, so that errors grow with the depth."""
    total = fill(s, 0.0)
    for r in range(height):
        row = fill(s, 0.0)
        for j in range(width):
            row = row + load(s, at + (r * width + j) * lanes)
        total = total + row
    return total


@njit(**JIT)
def convolve(out, to, after, s, at, before, sums, op, factor, bias, lanes):
    """Convolve one plane into another; zeros lie around it and, with fill, inside.

    Output ``o`` reads through tap ``t`` the input ``(stride o + dilation t - low) / fill``.
    """
    height, width = before
    tall, wide = after
    zero = fill(s, 0.0)
    by, term = fill(s, factor), fill(s, bias)
    for r in range(tall):
        for j in range(width):
            store(sums, j * lanes, zero)
        for tap in range(op[1]):
            row = op[3] * r + op[5] * tap - op[7]
            if row % op[9] == 0 and 0 <= row < height * op[9]:
                place = at + row // op[9] * width * lanes
                for j in range(width):
                    total = load(sums, j * lanes) + load(s, place + j * lanes)
                    store(sums, j * lanes, total)
        line = to + r * wide * lanes
        for j in range(wide):
            store(out, line + j * lanes, zero)
        for tap in range(op[2]):
            shift = op[6] * tap - op[8]
            if op[4] == 1 and op[10] == 1:
                for j in range(max(0, -shift), min(wide, width - shift)):
                    total = load(out, line + j * lanes) + load(sums, (j + shift) * lanes)
                    store(out, line + j * lanes, total)
            else:
                for j in range(wide):
                    column = op[4] * j + shift
                    if column % op[10] == 0 and 0 <= column < width * op[10]:
                        total = load(out, line + j * lanes)
                        total = total + load(sums, column // op[10] * lanes)
                        store(out, line + j * lanes, total)
        for j in range(wide):
            store(out, line + j * lanes, multiply_add(load(out, line + j * lanes), by, term))


@njit(**JIT)
def convolve_in_place(s, at, size, blank, factor, bias, lanes):
    """Convolve 3 x 3 with zeros around; the plane moves up by one row."""
    height, width = size
    row = width * lanes
    by, term, zero = fill(s, factor), fill(s, bias), fill(s, 0.0)
    for r in range(height):
        middle = at + r * row
        upper = middle - row if r > 0 else blank
        lower = middle + row if r + 1 < height else blank
        left, here = zero, load(s, upper) + load(s, middle) + load(s, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = load(s, upper + n) + load(s, middle + n) + load(s, lower + n)
            store(s, middle - row + k, multiply_add(left + here + right, by, term))
            left, here = here, right


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
        left, here = zero, load(s, upper) + load(s, middle) + load(s, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = load(s, upper + n) + load(s, middle + n) + load(s, lower + n)
            total = (left + here) + (right + term)
            left, here = here, right
            c = total * take(cosine, mine + j) * load(inverse, theirs + k)
            rest = one - magnitude(c)
            rest = where_less(zero, rest, rest, zero)
            first = where_less(zero, c, c, zero)
            first = multiply_add(rest * root(rest), q_of(rest), first)
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
        left, here = zero, load(s, upper) + load(s, middle) + load(s, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = load(s, upper + n) + load(s, middle + n) + load(s, lower + n)
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
            left, here = zero, load(s, upper) + load(s, middle) + load(s, lower)
            t_left, t_here = zero, zero
            if has_tangent:
                t_here = load(t, upper) + load(t, middle) + load(t, lower)
            for j in range(width):
                k = j * lanes
                right, t_right = zero, zero
                if j + 1 < width:
                    n = k + lanes
                    right = load(s, upper + n) + load(s, middle + n) + load(s, lower + n)
                    if has_tangent:
                        t_right = load(t, upper + n) + load(t, middle + n) + load(t, lower + n)
                total = (left + here) + (right + term)
                left, here = here, right
                c = total * take(cosine, mine + j) * load(inverse, theirs + k)
                rest = one - magnitude(c)
                rest = where_less(rest, small, zero, rest)
                w = root(rest)
                first = where_less(zero, c, c, zero)
                first = multiply_add(rest * w, q_of(rest), first)
                angle = w * r_of(rest)
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


def _dual_loop(dual):
    """Compile the loop of a dual over a plane: ``S' = k``, ``T' = T kd``."""

    @njit(**JIT)
    def loop(
        s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats, place,
        degree, tiny, lanes, ntk,
    ):  # fmt: skip
        height, width = size
        a, b = fill(s, floats[place]), fill(s, floats[place + 1])
        e, f = fill(s, floats[place + 2]), fill(s, floats[place + 3])
        small = fill(s, tiny)
        for r in range(height):
            mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
            row = at + r * width * lanes
            if ntk:
                for j in range(width):
                    k, m, n = row + j * lanes, mine + j * x_step, theirs + j * y_step
                    value, slope = dual(
                        load(s, k), take(nx, m), take(ix, m), load(ny, n), load(iy, n), a, b, e, f,
                        small, degree,
                    )  # fmt: skip
                    store(s, k, value)
                    store(t, k, load(t, k) * slope)
            else:
                for j in range(width):
                    k, m, n = row + j * lanes, mine + j * x_step, theirs + j * y_step
                    value, _ = dual(
                        load(s, k), take(nx, m), take(ix, m), load(ny, n), load(iy, n), a, b, e, f,
                        small, degree,
                    )  # fmt: skip
                    store(s, k, value)

    return loop


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
            left, here = zero, load(s, upper) + load(s, middle) + load(s, lower)
            t_left, t_here = zero, load(t, upper) + load(t, middle) + load(t, lower)
            for j in range(width):
                k = j * lanes
                right, t_right = zero, zero
                if j + 1 < width:
                    n = k + lanes
                    right = load(s, upper + n) + load(s, middle + n) + load(s, lower + n)
                    t_right = load(t, upper + n) + load(t, middle + n) + load(t, lower + n)
                total = multiply_add(left + here + right, by, term)
                tangent = (t_left + t_here + t_right) * by
                tangent = multiply_add(total, own, tangent)
                left, here, t_left, t_here = here, right, t_here, t_right
                value, slope = dual(
                    total, take(nx, mine + j), take(ix, mine + j), load(ny, theirs + k),
                    load(iy, theirs + k), a, b, e, f, small, degree,
                )  # fmt: skip
                store(s, middle - row + k, value)
                store(t, middle - row + k, tangent * slope)

    return loop


tangent_exponential_in_place = _joined_loop(duals.exponential_of_cosine)
ramp_plane = _dual_loop(duals.ramp)
bent_plane = _dual_loop(duals.bent)
stair_plane = _dual_loop(duals.stair)
ramp_squared_plane = _dual_loop(duals.ramp_squared)
error_function_plane = _dual_loop(duals.error_function)
exponential_plane = _dual_loop(duals.exponential_of_cosine)
power_plane = _dual_loop(duals.power_of_cosine)
square_plane = _dual_loop(duals.square)


@njit(**JIT)
def project_plane(
    s, t, at, size, nx, x_at, x_pitch, x_step, ny, y_at, y_pitch, y_step, lanes, ntk
):  # fmt: skip
    """Divide both kernels by ``n n'``, 0 where that is 0."""
    height, width = size
    zero, one = fill(s, 0.0), fill(s, 1.0)
    for r in range(height):
        mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
        for j in range(width):
            k = at + (r * width + j) * lanes
            n = take(nx, mine + j * x_step) * load(ny, theirs + j * y_step)
            inverse = where_less(zero, n, one / where_less(zero, n, n, one), zero)
            store(s, k, load(s, k) * inverse)
            if ntk:
                store(t, k, load(t, k) * inverse)


@njit(**JIT)
def mark_plane(
    s, at, size, marks, m_at, m_pitch, m_step, nx, x_at, x_pitch, x_step, ny, y_at, y_pitch,
    y_step, lanes,
):  # fmt: skip
    """``S = n n'`` in the lanes that hold the item itself: rounding of S differs from that of q."""
    height, width = size
    zero = fill(s, 0.0)
    for r in range(height):
        mine, theirs = x_at + r * x_pitch, (y_at + r * y_pitch) * lanes
        for j in range(width):
            k = at + (r * width + j) * lanes
            n = take(nx, mine + j * x_step) * load(ny, theirs + j * y_step)
            mark = load(marks, m_at + r * m_pitch + j * m_step)
            store(s, k, where_less(zero, mark, n, load(s, k)))


@njit(**JIT)
def record_plane(s, at, count, q, n, i, to, lanes):
    """Keep a plane of offset (0, 0) of items with themselves: ``q``, its root and the inverse."""
    zero, one = fill(s, 0.0), fill(s, 1.0)
    for j in range(count):
        place = (to + j) * lanes
        value = load(s, at + j * lanes)
        store(q, place, value)
        value = root(where_less(zero, value, value, zero))
        store(n, place, value)
        store(i, place, where_less(zero, value, one / where_less(zero, value, value, one), zero))
