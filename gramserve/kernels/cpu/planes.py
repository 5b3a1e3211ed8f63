"""What happens to one plane: loops over its rows and columns, one vector of items an entry.

Arrays are flat. ``at`` is the element where a plane begins, its rows follow each other without
gaps, and neighbours are ``lanes`` elements apart.

The one item's numbers are read by :func:`gramserve.kernels.cpu.lanes.take`: broadcast where its
array is flat, vectors where it is a table.
"""

from numba import njit

from gramserve.kernels.cpu.lanes import (
    JIT,
    fill,
    load,
    multiply_add,
    root,
    store,
    take,
    where_less,
)


@njit(**JIT)
def product_plane(s, at, size, x, x_at, x_pitch, y, y_at, y_pitch, channels, lanes):
    """``S = sum_c x[p, c] x'[p', c]``; positions of one item are ``pitch`` to a row."""
    height, width = size
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
                store(s, to + j * lanes, total)
        else:
            for j in range(width):
                k, v = mine + channels * j, theirs + channels * j * lanes
                total = take(x, k) * load(y, v)
                for c in range(1, channels):
                    total = multiply_add(take(x, k + c), load(y, v + c * lanes), total)
                store(s, to + j * lanes, total)


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
    """Keep a plane of offset (0, 0) of items with themselves: ``q``, its root and the inverse.

    Then ``S = n n`` as :func:`mark_plane` has it: duals see that both sides are one.
    """
    zero, one = fill(s, 0.0), fill(s, 1.0)
    for j in range(count):
        place = (to + j) * lanes
        value = load(s, at + j * lanes)
        value = where_less(value, zero, zero, value)
        store(q, place, value)
        value = root(value)
        store(n, place, value)
        store(s, at + j * lanes, value * value)
        store(i, place, where_less(zero, value, one / where_less(zero, value, value, one), zero))


@njit(**JIT)
def record_mean(s, at, count, q, n, i, to, lanes):
    """Keep the mean of a plane of offset (0, 0), its root and the inverse."""
    total, zero, one = fill(s, 0.0), fill(s, 0.0), fill(s, 1.0)
    for j in range(count):
        value = load(s, at + j * lanes)
        total = total + where_less(value, zero, zero, value)
    store(q, to * lanes, total / count)
    value = root(total / count)
    store(n, to * lanes, value)
    store(i, to * lanes, where_less(zero, value, one / where_less(zero, value, value, one), zero))
