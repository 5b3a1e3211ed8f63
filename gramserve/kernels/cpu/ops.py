"""Ops of a program, interpreted: one plane through the layers of a stage."""

from numba import njit

from gramserve.kernels.closed_forms import EXPONENTIAL, NORMALISE, NUMERIC, SQUARE
from gramserve.kernels.cpu.convolutions import convolve, convolve_in_place
from gramserve.kernels.cpu.dual_loops import numeric_plane, take_dual
from gramserve.kernels.cpu.joined import (
    exponential_in_place,
    first_tangent_ramp_in_place,
    ramp_in_place,
    tangent_exponential_in_place,
    tangent_ramp_in_place,
)
from gramserve.kernels.cpu.lanes import JIT
from gramserve.kernels.cpu.planes import (
    add,
    clear,
    copy,
    mark_plane,
    project_plane,
    record_mean,
    record_plane,
    scale,
)
from gramserve.kernels.cpu.tables import (
    ALONE,
    CONV,
    CONV_IN_PLACE,
    FORK,
    JOIN,
    NEXT,
    PROJECT,
    SCALE,
)


@njit(inline="always", **JIT)
def run_ops(
    ops, begin, end, floats, tiny, widest, moves, size, offset, on_positions, first_variance,
    first_series, sides, marked, recorded, room, kept, kept_entries, lanes, ntk, has_tangent,
):  # fmt: skip
    """Take the plane in ``s`` and ``t`` through ops; return where it is then, and its size.

    Parameters
    ----------
    ops, begin, end : array, int, int
        The program's; first and last op.
    floats, tiny
        The program's numbers; rounding of a cosine.
    widest, moves : int
        Vectors of the row of zeros at the beginning of ``s``, and rows that the plane may move
        up: it begins behind both.
    size, offset : (int, int)
        Of the plane.
    on_positions : bool
        Whether rows and columns of the plane are positions of the items. Otherwise rows are items
        and columns are vectors of other items.
    first_variance, first_series : int
        What the arrays of roots and of coefficients begin with.
    sides : (nx, ix, gain, cosine, ny, iy, ax, ay)
        Roots and inverses of the variances of one item, and both with the factors of ops that
        are done along with a convolution; roots and inverses of the group; coefficients of numeric
        activations of the item and of the group.
    marked : (marks, pitch, step, has_marks)
        1 in lanes that hold the item itself; steps from row to row and from column to column.
    recorded : (q, records)
        Receives variances, if asked to.
    room : (s, s_other, s_kept, t, t_other, t_kept, sums)
        Room for planes, what forks keep, and a row.
    kept, kept_entries : array, int
        Room for sizes that forks keep; vectors of a plane in ``s_kept``.
    lanes, ntk, has_tangent
        Lanes; whether ``T`` is asked for; whether it is there, or still zero.

    Returns
    -------
    (int, int, int, bool)
        Element where the plane begins, its height and width, and whether there is a tangent.
    """
    nx, ix, gain, cosine, ny, iy, ax, ay = sides
    marks, m_pitch, m_step, has_marks = marked
    q, records = recorded
    s, s_other, s_kept, t, t_other, t_kept, sums = room
    height, width = size
    a, b = offset
    at = (widest + moves * width) * lanes
    # One type each, so that every loop is compiled once: Numba tells constants from variables.
    one, none = floats[len(floats) - 2], floats[len(floats) - 1]
    origin = begin - begin
    k = begin
    while k < end:
        op = ops[k]
        kind, place = op[0], op[14]
        size = (height, width)
        count = height * width
        is_marked = has_marks and a == 0 and b == 0
        k += 1
        if kind == CONV_IN_PLACE:
            factor, bias = floats[place], floats[place + 1]
            up = at - width * lanes
            if op[15] == 1 and not is_marked and not records:
                ramp = ops[k]
                k += 1
                pitch = ramp[13]
                corner = ramp[16] - first_variance + max(0, -a) * pitch + max(0, -b)
                theirs = corner + a * pitch + b
                if ramp[0] == EXPONENTIAL and ntk:
                    if not has_tangent:
                        clear(t, at, count, lanes)
                        has_tangent = True
                    tangent_exponential_in_place(
                        s, t, at, size, origin, nx, ix, corner, pitch, ny, iy, theirs, pitch,
                        factor, bias, op[11], floats, ramp[14], ramp[17], tiny, lanes,
                    )  # fmt: skip
                    at = up
                    continue
                bias = floats[place + 2]
                if ramp[0] == EXPONENTIAL:
                    exponential_in_place(
                        s, at, size, origin, nx, cosine, corner, pitch, ny, iy, theirs, pitch,
                        bias, floats[ramp[14] + 1], lanes,
                    )  # fmt: skip
                    at = up
                    continue
                if not ntk:
                    ramp_in_place(
                        s, at, size, origin, gain, cosine, corner, pitch, ny, iy, theirs, pitch,
                        bias, lanes,
                    )  # fmt: skip
                elif has_tangent:
                    tangent_ramp_in_place(
                        s, t, at, size, origin, gain, cosine, corner, pitch, ny, iy, theirs, pitch,
                        bias, lanes, floats[place + 3], op[11], tiny,
                    )  # fmt: skip
                else:
                    first_tangent_ramp_in_place(
                        s, t, at, size, origin, gain, cosine, corner, pitch, ny, iy, theirs, pitch,
                        bias, lanes, floats[place + 3], op[11], tiny,
                    )  # fmt: skip
                    has_tangent = True
                at = up
                continue
            convolve_in_place(s, at, size, origin, factor, bias, lanes)
            if ntk and has_tangent:
                convolve_in_place(t, at, size, origin, factor, none, lanes)
            at = up
        elif kind == CONV:
            factor, bias = floats[place], floats[place + 1]
            a, b = a // op[3], b // op[4]
            height, width = op[12] - abs(a), op[13] - abs(b)
            after = (height, width)
            convolve(s_other, origin, after, s, at, size, sums, op, factor, bias, lanes)
            if ntk and has_tangent:
                convolve(t_other, origin, after, t, at, size, sums, op, factor, none, lanes)
            count = height * width
            at = (widest + moves * width) * lanes
            copy(s, at, s_other, origin, count, lanes)
            if ntk and has_tangent:
                copy(t, at, t_other, origin, count, lanes)
        elif kind == SCALE:
            scale(s, at, count, floats[place], floats[place + 1], lanes)
            if ntk and has_tangent:
                scale(t, at, count, floats[place], none, lanes)
        elif kind == ALONE:
            if a != 0 or b != 0:
                clear(s, at, count, lanes)
                if ntk and has_tangent:
                    clear(t, at, count, lanes)
        elif kind == FORK:
            if ntk and not has_tangent:
                clear(t, at, count, lanes)
                has_tangent = True
            depth = op[16]
            kept[depth, 0], kept[depth, 1], kept[depth, 2] = height, width, at
            kept[depth, 3], kept[depth, 4] = a, b
            copy(s_kept, 2 * depth * kept_entries * lanes, s, at, count, lanes)
            if ntk:
                copy(t_kept, 2 * depth * kept_entries * lanes, t, at, count, lanes)
        elif kind == NEXT or kind == JOIN:
            depth = op[16]
            start, total = 2 * depth * kept_entries * lanes, (2 * depth + 1) * kept_entries * lanes
            if kind == NEXT:
                if op[17] == 1:
                    copy(s_kept, total, s, at, count, lanes)
                    if ntk:
                        copy(t_kept, total, t, at, count, lanes)
                else:
                    add(s_kept, total, s, at, count, one, lanes)
                    if ntk:
                        add(t_kept, total, t, at, count, one, lanes)
                height, width, at = kept[depth, 0], kept[depth, 1], kept[depth, 2]
                a, b = kept[depth, 3], kept[depth, 4]
                copy(s, at, s_kept, start, height * width, lanes)
                if ntk:
                    copy(t, at, t_kept, start, height * width, lanes)
            else:
                weight = floats[place]
                if op[17] == 1:
                    add(s, at, s_kept, total, count, one, lanes)
                    if ntk:
                        add(t, at, t_kept, total, count, one, lanes)
                scale(s, at, count, weight, none, lanes)
                if ntk:
                    scale(t, at, count, weight, none, lanes)
                # Back where planes begin: branches may have moved it up by different rows.
                to = (widest + moves * width) * lanes
                if to != at:
                    copy(s_other, origin, s, at, count, lanes)
                    copy(s, to, s_other, origin, count, lanes)
                    if ntk:
                        copy(t_other, origin, t, at, count, lanes)
                        copy(t, to, t_other, origin, count, lanes)
                    at = to
        else:
            if on_positions:
                x_pitch, x_step, y_pitch, y_step = op[13], 1, op[13], lanes
                x_at = op[16] - first_variance + max(0, -a) * x_pitch + max(0, -b)
                y_at = x_at + a * x_pitch + b
            else:
                x_pitch, x_step, y_pitch, y_step = 1, 0, 0, lanes
                x_at, y_at = (op[16] - first_variance) * height, (op[16] - first_variance) * width
            if kind == PROJECT:
                project_plane(
                    s, t, at, size, nx, x_at, x_pitch, x_step, ny, y_at, y_pitch, y_step, lanes,
                    ntk and has_tangent,
                )  # fmt: skip
                continue
            if kind == NORMALISE and op[17] == 1:
                # One variance for all positions: their mean.
                x_pitch, x_step, y_pitch, y_step = origin, origin, origin, origin
                x_at = op[16] - first_variance
                y_at = x_at
                if records and a == 0 and b == 0:
                    record_mean(s, at, count, q, ny, iy, x_at, lanes)
            elif kind != SQUARE:
                if records and a == 0 and b == 0:
                    record_plane(s, at, count, q, ny, iy, x_at, lanes)
                if is_marked:
                    mark_plane(
                        s, at, size, marks, origin, m_pitch, m_step, nx, x_at, x_pitch, x_step, ny,
                        y_at, y_pitch, y_step, lanes,
                    )  # fmt: skip
            if kind == NUMERIC:
                if on_positions:
                    # By position, then by term.
                    c_gap, c_step, d_gap, d_step = 2 * op[17], 1, 2 * op[17], 1
                    c_at = op[15] + (x_at - op[16] + first_variance) * c_gap
                    d_at = op[15] + (y_at - op[16] + first_variance) * d_gap
                else:
                    # By term, then by item.
                    c_gap, c_step, d_gap, d_step = 1, height, 1, width
                    c_at, d_at = (op[15] - first_series) * height, (op[15] - first_series) * width
                numeric_plane(
                    s, t, at, size, (ix, x_at, x_pitch, x_step), (iy, y_at, y_pitch, y_step),
                    (ax, c_at, c_gap, c_step), (ay, d_at, d_gap, d_step), op[17], lanes,
                    ntk and has_tangent,
                )  # fmt: skip
                continue
            take_dual(
                kind, s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step,
                floats, place, op[17], tiny, lanes, ntk and has_tangent,
            )  # fmt: skip
            continue
        if ntk and op[11] == 1 and (kind == CONV_IN_PLACE or kind == CONV or kind == SCALE):
            # The layer's own weights: T += S.
            if has_tangent:
                add(t, at, s, at, count, one, lanes)
            else:
                copy(t, at, s, at, count, lanes)
                has_tangent = True
    return at, height, width, has_tangent
