"""Networks, interpreted: all stages, plane by plane, of one item against a group of others.

The tables that steer this are made by :mod:`gramserve.kernels.cpu.program`, which says what
their columns mean.
"""

from numba import njit

from gramserve.kernels.cpu.lanes import JIT, fill, load, store
from gramserve.kernels.cpu.planes import (
    add,
    add_up,
    bent_plane,
    clear,
    convolve,
    convolve_in_place,
    copy,
    error_function_plane,
    exponential_in_place,
    exponential_plane,
    first_tangent_ramp_in_place,
    mark_plane,
    power_plane,
    product_plane,
    project_plane,
    ramp_in_place,
    ramp_plane,
    ramp_squared_plane,
    record_plane,
    scale,
    square_plane,
    stair_plane,
    tangent_exponential_in_place,
    tangent_ramp_in_place,
)
from gramserve.kernels.cpu.pools import pool_columns, pool_rows
from gramserve.kernels.cpu.program import (
    ADD_UP,
    BENT,
    BLOCK,
    CONV,
    CONV_IN_PLACE,
    ERROR_FUNCTION,
    EXPONENTIAL,
    FORK,
    JOIN,
    NEXT,
    POOL,
    POWER,
    PROJECT,
    RAMP,
    RAMP_SQUARED,
    SCALE,
    SQUARE,
    STAIR,
)

CACHED = {"nogil": True, "error_model": "numpy", "cache": True}


@njit(**JIT)
def _dual(
    kind, s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
    place, degree, tiny, lanes, ntk,
):  # fmt: skip
    """Take the dual of one kind of a plane."""
    if kind == RAMP:
        ramp_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == BENT:
        bent_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == STAIR:
        stair_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == RAMP_SQUARED:
        ramp_squared_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == ERROR_FUNCTION:
        error_function_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == EXPONENTIAL:
        exponential_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == POWER:
        power_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip
    elif kind == SQUARE:
        square_plane(
            s, t, at, size, nx, ix, x_at, x_pitch, x_step, ny, iy, y_at, y_pitch, y_step, floats,
            place, degree, tiny, lanes, ntk,
        )  # fmt: skip


@njit(inline="always", **JIT)
def _run_ops(
    ops, begin, end, floats, tiny, widest, moves, size, offset, on_positions, first_variance,
    sides, marked, recorded, room, kept, kept_entries, lanes, ntk, has_tangent,
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
    first_variance : int
        Variance at the beginning of the arrays of roots.
    sides : (nx, ix, gain, cosine, ny, iy)
        Roots and inverses of the variances of one item, and both with the factors of ops that
        are done along with a convolution; roots and inverses of the group.
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
    nx, ix, gain, cosine, ny, iy = sides
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
            if kind != SQUARE:
                if records and a == 0 and b == 0:
                    record_plane(s, at, count, q, ny, iy, x_at, lanes)
                if is_marked:
                    mark_plane(
                        s, at, size, marks, origin, m_pitch, m_step, nx, x_at, x_pitch, x_step, ny,
                        y_at, y_pitch, y_step, lanes,
                    )  # fmt: skip
            _dual(
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


@njit(**JIT)
def _wrap(out, to, rows, columns, state, table, positions, offset, before, tables, lanes):
    """Write ``S[i mod H, (i + a) mod H]`` for consecutive ``i`` along both axes.

    ``before``: the first ``i`` along both axes; ``offset``: ``a`` along both.
    """
    height, width = positions
    for r in range(rows):
        i = (before[0] + r) % height
        a = (i + offset[0]) % height - i
        row = i - max(0, -a)
        for c in range(columns):
            j = (before[1] + c) % width
            b = (j + offset[1]) % width - j
            column = j - max(0, -b)
            place = tables[table + (a + height - 1) * (2 * width - 1) + b + width - 1]
            at = (place + row * (width - abs(b)) + column) * lanes
            store(out, to + (r * columns + c) * lanes, load(state, at))


@njit(**JIT)
def run_front(
    op, out, to, after, offset, state, table, positions, s, sums, tables, factor, bias, lanes
):
    """Convolve from a state into one plane, wrapping around or filling with zeros."""
    a, b = offset
    if op[15] == 1:
        # Wrapping around: a plane that is as long as all taps, then nothing lies outside.
        rows = op[3] * (after[0] - 1) + op[5] * (op[1] - 1) + 1
        columns = op[4] * (after[1] - 1) + op[6] * (op[2] - 1) + 1
        first = (op[3] * max(0, -a) - op[16], op[4] * max(0, -b) - op[17])
        shift = (op[3] * a, op[4] * b)
        _wrap(s, 0, rows, columns, state, table, positions, shift, first, tables, lanes)
        convolve(out, to, after, s, rows - rows, (rows, columns), sums, op, factor, bias, lanes)
        return
    height, width = positions
    down, across = a * op[3], b * op[4]
    place = -1
    size = (0, 0)
    if down % op[9] == 0 and across % op[10] == 0:
        down, across = down // op[9], across // op[10]
        if abs(down) < height and abs(across) < width:
            size = (height - abs(down), width - abs(across))
            place = tables[table + (down + height - 1) * (2 * width - 1) + across + width - 1]
    convolve(out, to, after, state, place * lanes, size, sums, op, factor, bias, lanes)


@njit(**JIT)
def _strip_rows(tables, table, tall):
    """Return the rows of all strips."""
    rows = 0
    for a in range(1 - tall, tall):
        if tables[table + a + tall - 1] >= 0:
            rows += tall - abs(a)
    return rows


@njit(**JIT)
def _flush(strips, state, width, b, rows, columns, floats, tables, table, lanes):
    """Pool the columns of all strips into the state behind."""
    pool_columns(
        state, strips, width, b, (rows[3], rows[5]), columns, floats, tables, 2 * columns[3] - 1,
        table, lanes,
    )  # fmt: skip


@njit(**CACHED)
def evaluate(
    ops, stages, first_stage, last_stage, planes, tables, floats, tiny, scale_by, channels,
    x, nx, ix, gain, cosine, y, ny, iy, marks, has_marks, q, records,
    s, s_other, s_kept, s_strips, s_state, t, t_other, t_kept, t_strips, t_state, sums,
    kept, widest, room, lanes, ntk, result, s_out, t_out,
):  # fmt: skip
    """Take items, one after the other, against a group through stages, from state to state.

    Parameters
    ----------
    ops, stages, first_stage, last_stage, planes, tables, floats : array
        The program; stages from the first to before the last.
    tiny, scale_by, channels
        Rounding of a cosine; scale of the items' inner products; numbers a position.
    x, nx, ix, gain, cosine : array
        Values of the items, (n, P C), and of their variances roots, inverses and both with
        factors, (n, V); (1, ..., lanes) of all these for items against themselves.
    y, ny, iy : array
        The same of the group, one lane an item.
    marks, has_marks : array
        1 in the lanes of the item itself, (n, lanes), and whether there are any, (n,).
    q, records : array, bool
        Receives variances, if asked to.
    s to sums : array
        Room, by :meth:`gramserve.kernels.cpu.program.Program.room`.
    kept, widest, room, lanes, ntk
        As in :func:`_run_ops`; numbers of three taps.
    result : int
        Entry of the states that holds the values in the end; -1 where they are in ``s`` and
        ``t``, as behind a stage whose exit is ``BLOCK``.
    s_out, t_out : array, (n, lanes)
        Receive the values.
    """
    one, none = floats[len(floats) - 2], floats[len(floats) - 1]
    buffers = (s, s_other, s_kept, t, t_other, t_kept, sums)
    for item in range(len(x)):
        mine = x[item]
        sides = (nx[item], ix[item], gain[item], cosine[item], ny, iy)
        for number in range(first_stage, last_stage):
            stage = stages[number]
            is_pool, is_block = stage[11] == POOL, stage[11] == BLOCK
            first_variance = pitch = step = number - number
            if is_block:
                first_variance, pitch, step = stage[14], stage[3] * lanes, lanes
            table, weight = stage[12], floats[stage[16]]
            tall, wide = stage[21], stage[22]
            if stage[15] == 1:
                clear(s_state, stage[14] * lanes, stage[13], lanes)
                if ntk:
                    clear(t_state, stage[14] * lanes, stage[13], lanes)
            rows = (stage[23], stage[25], stage[27], tall, stage[29], stage[31])
            columns = (stage[24], stage[26], stage[28], wide, stage[30])
            s_total, t_total = fill(s, 0.0), fill(s, 0.0)
            strip_offset, strip_width, has_strips = tall - tall, tall - tall, False
            for plane in range(stage[8], stage[9]):
                a, b = planes[plane, 0] * stage[6], planes[plane, 1] * stage[7]
                height, width = stage[2] - abs(a), stage[3] - abs(b)
                at = (widest + stage[20] * width) * lanes
                has_tangent = True
                if is_block:
                    # Numbers of pairs, in place: rows are items, columns vectors of others.
                    has_tangent = stage[13] == 1
                elif stage[17] >= 0:
                    op = ops[stage[17]]
                    place = op[14]
                    after, positions = (height, width), (stage[18], stage[19])
                    run_front(
                        op, s, at, after, (a, b), s_state, stage[10], positions, s_other, sums,
                        tables, floats[place], floats[place + 1], lanes,
                    )  # fmt: skip
                    if ntk:
                        run_front(
                            op, t, at, after, (a, b), t_state, stage[10], positions, t_other, sums,
                            tables, floats[place], none, lanes,
                        )  # fmt: skip
                        if op[11] == 1:
                            add(t, at, s, at, height * width, one, lanes)
                elif stage[10] < 0:
                    corner = max(0, -a) * stage[3] + max(0, -b)
                    product_plane(
                        s, at, (height, width), mine, corner, stage[3], y,
                        corner + a * stage[3] + b, stage[3], channels, scale_by, lanes,
                    )  # fmt: skip
                    has_tangent = False
                else:
                    place = tables[
                        stage[10] + (a + stage[2] - 1) * (2 * stage[3] - 1) + b + stage[3] - 1
                    ]
                    copy(s, at, s_state, place * lanes, height * width, lanes)
                    if ntk:
                        copy(t, at, t_state, place * lanes, height * width, lanes)
                at, height, width, has_tangent = _run_ops(
                    ops, stage[0], stage[1], floats, tiny, widest, stage[20], (height, width),
                    (a, b), not is_block, first_variance, sides,
                    (marks[item], pitch, step, has_marks[item]), (q, records), buffers, kept, room,
                    lanes, ntk, has_tangent,
                )  # fmt: skip
                a, b = planes[plane, 0], planes[plane, 1]
                if ntk and not has_tangent:
                    clear(t, at, height * width, lanes)
                if is_block:
                    continue
                if is_pool:
                    if has_strips and b != strip_offset:
                        _flush(
                            s_strips, s_state, strip_width, strip_offset, rows, columns, floats,
                            tables, table, lanes,
                        )  # fmt: skip
                        if ntk:
                            _flush(
                                t_strips, t_state, strip_width, strip_offset, rows, columns, floats,
                                tables, table, lanes,
                            )  # fmt: skip
                    if not has_strips or b != strip_offset:
                        count = _strip_rows(tables, stage[31], tall) * width
                        clear(s_strips, tall - tall, count, lanes)
                        if ntk:
                            clear(t_strips, tall - tall, count, lanes)
                    strip_offset, strip_width, has_strips = b, width, True
                    size = (height, width)
                    pool_rows(s_strips, s, at, size, a, rows, floats, tables, lanes)
                    if ntk:
                        pool_rows(t_strips, t, at, size, a, rows, floats, tables, lanes)
                elif stage[11] == ADD_UP:
                    s_total = s_total + add_up(s, at, height, width, lanes)
                    if ntk:
                        t_total = t_total + add_up(t, at, height, width, lanes)
                else:
                    place = tables[table + (a + tall - 1) * (2 * wide - 1) + b + wide - 1] * lanes
                    # Variances may need a plane that nothing behind reads.
                    if place >= 0:
                        add(s_state, place, s, at, height * width, weight, lanes)
                        if ntk:
                            add(t_state, place, t, at, height * width, weight, lanes)
            if is_pool and has_strips:
                _flush(
                    s_strips, s_state, strip_width, strip_offset, rows, columns, floats, tables,
                    table, lanes,
                )  # fmt: skip
                if ntk:
                    _flush(
                        t_strips, t_state, strip_width, strip_offset, rows, columns, floats, tables,
                        table, lanes,
                    )  # fmt: skip
            elif stage[11] == ADD_UP:
                place = stage[14] * lanes
                store(s_state, place, s_total * weight)
                if ntk:
                    store(t_state, place, t_total * weight)
        if result >= 0:
            store(s_out[item], 0, load(s_state, result * lanes))
            if ntk:
                store(t_out[item], 0, load(t_state, result * lanes))
