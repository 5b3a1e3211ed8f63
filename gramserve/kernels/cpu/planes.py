"""One item against a group of items: all stages, plane by plane.

The tables that steer this are made by :mod:`gramserve.kernels.cpu.program`, which says what
their columns mean.
"""

from numba import njit

from gramserve.kernels.cpu.lanes import fill, load, multiply_add, store
from gramserve.kernels.cpu.program import CONV, POOL
from gramserve.kernels.cpu.rows import (
    JIT,
    add_row,
    add_up_row,
    fill_row,
    product_row,
    relu_row,
    sum_columns,
    window_row,
)


@njit(**JIT)
def convolve_plane(s, at, out, sums, size, after, op, scale, bias, margin, lanes):
    """Convolve one plane of ``S`` or ``T``; zeros lie around it."""
    height, width = size
    tall, wide = after
    zero = fill(sums, 0.0)
    for j in range(margin):
        store(sums, j * lanes, zero)
        store(sums, (margin + width + j) * lanes, zero)
    taps, stride, dilation, low = op[1], op[3], op[5], op[7]
    for r in range(tall):
        first = stride * r - low
        last = first + dilation * (taps - 1)
        while first < 0:
            first += dilation
        while last >= height:
            last -= dilation
        sum_columns(sums, s, at, width * lanes, first, last, dilation, width, margin, lanes)
        window_row(
            out,
            r * wide * lanes,
            sums,
            wide,
            margin,
            lanes,
            op[2],
            op[4],
            op[6],
            op[8],
            scale,
            bias,
        )


@njit(**JIT)
def pool_plane(s, at, size, corner, out, out_at, out_size, out_corner, pool, shift, floats, lanes):
    """Add what one plane gives to one plane behind a pool.

    ``shift`` is the offset of the plane less stride times that of the plane behind: tap ``t`` of
    the rows' window meets tap ``t + shift`` of the columns'.
    """
    taps, across, stride, step, low, left, weights, others = pool
    for r in range(out_size[0]):
        for tap in range(max(0, -shift[0]), min(taps, taps - shift[0])):
            row = stride * (r + out_corner[0]) + tap - low - corner[0]
            if row < 0 or row >= size[0]:
                continue
            weight = floats[weights + tap] * floats[weights + tap + shift[0]]
            for side in range(max(0, -shift[1]), min(across, across - shift[1])):
                factor = fill(s, weight * floats[others + side] * floats[others + side + shift[1]])
                for j in range(out_size[1]):
                    column = step * (j + out_corner[1]) + side - left - corner[1]
                    if column < 0 or column >= size[1]:
                        continue
                    place = out_at + (r * out_size[1] + j) * lanes
                    mine = load(s, at + (row * size[1] + column) * lanes)
                    store(out, place, multiply_add(mine, factor, load(out, place)))


@njit(**JIT)
def scatter_plane(s, at, size, corner, offset, out, stage, tables, floats, lanes):
    """Add what one plane gives to all planes behind a pool."""
    tall, wide = stage[12], stage[13]
    pool = (
        stage[14], stage[15], stage[16], stage[17], stage[18], stage[19], stage[20], stage[21]
    )  # fmt: skip
    taps, across, stride, step = pool[:4]
    for a in range((offset[0] - taps) // stride, (offset[0] + taps) // stride + 2):
        down = offset[0] - stride * a
        if abs(down) >= taps or abs(a) >= tall:
            continue
        for b in range((offset[1] - across) // step, (offset[1] + across) // step + 2):
            right = offset[1] - step * b
            if abs(right) >= across or abs(b) >= wide:
                continue
            place = tables[stage[23] + (a + tall - 1) * (2 * wide - 1) + b + wide - 1]
            if place >= 0:
                pool_plane(
                    s, at, size, corner, out, place * lanes, (tall - abs(a), wide - abs(b)),
                    (max(0, -a), max(0, -b)), pool, (down, right), floats, lanes,
                )  # fmt: skip


@njit(**JIT)
def evaluate_group(
    ops, stages, planes, tables, floats, x, nx, ix, y, ny, iy, same, other,
    s_even, s_odd, t_even, t_odd, sums, s_now, s_next, t_now, t_next,
    lanes, margin, channels, ntk, s_out, t_out,
):  # fmt: skip
    """Take one item against a group through the network.

    Parameters
    ----------
    ops, stages, planes, tables, floats : array
        The program.
    x, nx, ix : array
        Values of the item, (P, C); roots of its variances and their inverses, (V,).
    y, ny, iy : array
        The same of the group, one lane an item.
    same, other : array, (lanes,)
        1 in the lanes of the item itself, else 0; zeros.
    s_even, s_odd, t_even, t_odd, sums : array
        Room for planes and for one row.
    s_now, s_next, t_now, t_next : array
        Room for the planes between two stages.
    lanes, margin, channels : int
        Sizes.
    ntk : bool
        Whether ``T`` is asked for.
    s_out, t_out : array, (lanes,)
        Receive the values.
    """
    for number in range(stages.shape[0]):
        stage = stages[number]
        if stage[11] == POOL:
            for i in range(stage[22]):
                store(s_next, i * lanes, fill(s_next, 0.0))
            if ntk:
                for i in range(stage[22]):
                    store(t_next, i * lanes, fill(t_next, 0.0))
        s_total, t_total = fill(s_next, 0.0), fill(s_next, 0.0)
        for plane in range(stage[8], stage[9]):
            a, b = planes[plane, 0] * stage[6], planes[plane, 1] * stage[7]
            wide = stage[3]
            height, width = max(0, stage[2] - abs(a)), max(0, wide - abs(b))
            top, left = max(0, -a), max(0, -b)
            s, t, at = s_even, t_even, 0
            if number == 0:
                for r in range(height):
                    row = r * width * lanes
                    mine = ((top + r) * wide + left) * channels
                    theirs = ((top + r + a) * wide + left + b) * channels * lanes
                    product_row(s, row, width, x, mine, y, theirs, channels, lanes, floats[0])
                    if ntk:
                        fill_row(t, row, width, lanes, 0.0)
            else:
                place = stage[10] + (a + stage[2] - 1) * (2 * wide - 1) + b + wide - 1
                s, t, at = s_now, t_now, tables[place] * lanes
            is_odd = False
            for k in range(stage[0], stage[1]):
                op = ops[k]
                if op[0] == CONV:
                    a, b = a // op[3], b // op[4]
                    wide = op[11]
                    tall_after, wide_after = op[10] - abs(a), wide - abs(b)
                    s_after, t_after = (s_even, t_even) if is_odd else (s_odd, t_odd)
                    scale, bias = floats[op[12]], floats[op[12] + 1]
                    before, after = (height, width), (tall_after, wide_after)
                    convolve_plane(
                        s, at, s_after, sums, before, after, op, scale, bias, margin, lanes
                    )
                    if ntk:
                        convolve_plane(
                            t, at, t_after, sums, before, after, op, scale,
                            floats[op[12]] * 0, margin, lanes,
                        )  # fmt: skip
                        if op[9]:
                            add_row(t_after, s_after, 0, tall_after * wide_after, lanes)
                    s, t, at, is_odd = s_after, t_after, 0, not is_odd
                    height, width = after
                    top, left = max(0, -a), max(0, -b)
                else:
                    exact = same if a == 0 and b == 0 else other
                    for r in range(height):
                        mine = op[1] + (top + r) * wide + left
                        theirs = (mine + a * wide + b) * lanes
                        relu_row(
                            s, t, at + r * width * lanes, width, nx, ix, mine, ny, iy, theirs,
                            exact, lanes, floats[op[12]], floats[op[12] + 1], floats[1],
                            op[2] == 1, ntk,
                        )  # fmt: skip
            if stage[11] == POOL:
                size, corner, offset = (height, width), (top, left), (a, b)
                scatter_plane(s, at, size, corner, offset, s_next, stage, tables, floats, lanes)
                if ntk:
                    scatter_plane(t, at, size, corner, offset, t_next, stage, tables, floats, lanes)
            else:
                # Sums of rows, of planes, of all: errors grow with the depth, not the count.
                s_plane, t_plane = fill(s_next, 0.0), fill(s_next, 0.0)
                for r in range(height):
                    row = at + r * width * lanes
                    s_plane = s_plane + add_up_row(s, row, width, lanes)
                    if ntk:
                        t_plane = t_plane + add_up_row(t, row, width, lanes)
                s_total, t_total = s_total + s_plane, t_total + t_plane
        if stage[11] != POOL:
            # One number a pair: for what follows, a plane of one position.
            store(s_next, 0, s_total * floats[stage[20]])
            store(t_next, 0, t_total * floats[stage[20]])
        s_now, s_next = s_next, s_now
        t_now, t_next = t_next, t_now
    store(s_out, 0, load(s_now, 0))
    store(t_out, 0, load(t_now, 0))
