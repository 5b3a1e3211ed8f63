"""Networks, interpreted: all stages, plane by plane, of items against a group of others.

The tables that steer this are described in :mod:`gramserve.kernels.cpu.tables`.
"""

from numba import njit

from gramserve.kernels.cpu.convolutions import run_front
from gramserve.kernels.cpu.lanes import JIT, fill, load, store
from gramserve.kernels.cpu.ops import run_ops
from gramserve.kernels.cpu.planes import add, add_up, clear, copy, product_plane
from gramserve.kernels.cpu.pools import pool_columns, pool_rows
from gramserve.kernels.cpu.tables import ADD_UP, BLOCK, POOL

CACHED = {"nogil": True, "error_model": "numpy", "cache": True}
"""How the one function that Python calls is compiled."""


@njit(**JIT)
def _add_exactly(total, lost, value):
    """Add with what rounding has lost so far (Kahan): planes are thousands."""
    value = value - lost
    after = total + value
    return after, (after - total) - value


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
    ops, stages, first_stage, last_stage, planes, tables, floats, tiny, channels,
    x, nx, ix, gain, cosine, ax, y, ny, iy, ay, marks, has_marks, q, records,
    s, s_other, s_kept, s_strips, s_state, t, t_other, t_kept, t_strips, t_state, sums,
    kept, widest, room, lanes, ntk, results, s_out, t_out,
):  # fmt: skip
    """Take items, one after the other, against a group through stages, from state to state.

    Parameters
    ----------
    ops, stages, first_stage, last_stage, planes, tables, floats : array
        The program; stages from the first to before the last.
    tiny, channels
        Rounding of a cosine; numbers a position.
    x, nx, ix, gain, cosine, ax : array
        Values of the items times the scale of inner products, (n, P C), and of their variances
        roots, inverses, both with factors, (n, V), and coefficients of numeric activations;
        (1, ..., lanes) of all these for items against themselves.
    y, ny, iy, ay : array
        The same of the group, one lane an item.
    marks, has_marks : array
        1 in the lanes of the item itself, (n, lanes), and whether there are any, (n,).
    q, records : array, bool
        Receives variances, if asked to.
    s to sums : array
        Room, by :meth:`gramserve.kernels.cpu.program.Program.room`.
    kept, widest, room, lanes, ntk
        As in :func:`run_ops`; numbers of three taps.
    results : array of int
        Entries of the states that hold values in the end; none where they are in ``s`` and
        ``t``, as behind a stage whose exit is ``BLOCK``.
    s_out, t_out : array, (n, results lanes)
        Receive the values.
    """
    one, none = floats[len(floats) - 2], floats[len(floats) - 1]
    buffers = (s, s_other, s_kept, t, t_other, t_kept, sums)
    for item in range(len(x)):
        mine = x[item]
        sides = (nx[item], ix[item], gain[item], cosine[item], ny, iy, ax[item], ay)
        for number in range(first_stage, last_stage):
            stage = stages[number]
            is_pool, is_block = stage[11] == POOL, stage[11] == BLOCK
            first_variance = first_series = pitch = step = number - number
            if is_block:
                first_variance, first_series = stage[14], stage[21]
                pitch, step = stage[3] * lanes, lanes
            table, weight = stage[12], floats[stage[16]]
            tall, wide = stage[21], stage[22]
            if stage[15] == 1:
                clear(s_state, stage[14] * lanes, stage[13], lanes)
                if ntk:
                    clear(t_state, stage[14] * lanes, stage[13], lanes)
            rows = (stage[23], stage[25], stage[27], tall, stage[29], stage[31])
            columns = (stage[24], stage[26], stage[28], wide, stage[30])
            s_total, t_total = fill(s, 0.0), fill(s, 0.0)
            s_lost, t_lost = fill(s, 0.0), fill(s, 0.0)
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
                        corner + a * stage[3] + b, stage[3], channels, lanes,
                    )  # fmt: skip
                    has_tangent = False
                else:
                    place = tables[
                        stage[10] + (a + stage[2] - 1) * (2 * stage[3] - 1) + b + stage[3] - 1
                    ]
                    copy(s, at, s_state, place * lanes, height * width, lanes)
                    if ntk:
                        copy(t, at, t_state, place * lanes, height * width, lanes)
                at, height, width, has_tangent = run_ops(
                    ops, stage[0], stage[1], floats, tiny, widest, stage[20], (height, width),
                    (a, b), not is_block, first_variance, first_series, sides,
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
                    s_total, s_lost = _add_exactly(
                        s_total, s_lost, add_up(s, at, height, width, lanes)
                    )
                    if ntk:
                        t_total, t_lost = _add_exactly(
                            t_total, t_lost, add_up(t, at, height, width, lanes)
                        )
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
        for r in range(len(results)):
            store(s_out[item], r * lanes, load(s_state, results[r] * lanes))
            if ntk:
                store(t_out[item], r * lanes, load(t_state, results[r] * lanes))
