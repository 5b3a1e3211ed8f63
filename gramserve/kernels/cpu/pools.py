"""Pools: planes before them, added into the planes behind them.

A pool is one table of weights an axis, ``W[o, t]`` of output ``o`` and tap ``t``, which reads
input ``stride o + t - low``. Behind it,

``S'[o, o'] = sum over t, t' of W[o, t] W[o', t'] S[stride o + t - low, stride o' + t' - low]``,

along both axes. An entry of offset ``a`` goes to offset ``A`` by taps with
``t' = t + a - stride A``. Rows are pooled first, into strips that collect all planes of one
horizontal offset (long loops over whole rows); then the columns of the strips, which are fewer.
"""

from numba import njit

from gramserve.kernels.cpu.lanes import JIT, fill, load, multiply_add, store


@njit(**JIT)
def pool_rows(strips, s, at, size, a, pool, floats, tables, lanes):
    """Add a plane of vertical offset ``a`` to the strips of all offsets behind the pool.

    ``pool``: taps, stride, low padding, outputs, where the weights are, and where the table of
    strips is: entry where the strip of offset A begins, in rows; -1 where it is not needed.
    """
    height, width = size
    taps, stride, low, outputs, weights, table = pool
    top = max(0, -a)
    row = width * lanes
    for offset in range((a - taps) // stride, (a + taps) // stride + 2):
        down = a - stride * offset
        if abs(down) >= taps or abs(offset) >= outputs:
            continue
        strip = tables[table + offset + outputs - 1]
        if strip < 0:
            continue
        corner = max(0, -offset)
        for r in range(outputs - abs(offset)):
            start = stride * (r + corner) - low - top
            first = max(max(0, -down), -start)
            last = min(min(taps, taps - down), height - start)
            mine = weights + (r + corner) * taps
            theirs = weights + (r + corner + offset) * taps + down
            to = (strip + r) * row
            while first < last:
                count = last - first
                k = at + (start + first) * row
                w = fill(s, floats[mine + first] * floats[theirs + first])
                if count == 1:
                    for j in range(0, row, lanes):
                        total = multiply_add(load(s, k + j), w, load(strips, to + j))
                        store(strips, to + j, total)
                    break
                w2 = fill(s, floats[mine + first + 1] * floats[theirs + first + 1])
                if count == 2:
                    for j in range(0, row, lanes):
                        total = multiply_add(load(s, k + j), w, load(strips, to + j))
                        total = multiply_add(load(s, k + row + j), w2, total)
                        store(strips, to + j, total)
                    break
                w3 = fill(s, floats[mine + first + 2] * floats[theirs + first + 2])
                if count < 5:
                    for j in range(0, row, lanes):
                        total = multiply_add(load(s, k + j), w, load(strips, to + j))
                        total = multiply_add(load(s, k + row + j), w2, total)
                        total = multiply_add(load(s, k + 2 * row + j), w3, total)
                        store(strips, to + j, total)
                    first += 3
                    continue
                w4 = fill(s, floats[mine + first + 3] * floats[theirs + first + 3])
                w5 = fill(s, floats[mine + first + 4] * floats[theirs + first + 4])
                for j in range(0, row, lanes):
                    total = multiply_add(load(s, k + j), w, load(strips, to + j))
                    total = multiply_add(load(s, k + row + j), w2, total)
                    total = multiply_add(load(s, k + 2 * row + j), w3, total)
                    total = multiply_add(load(s, k + 3 * row + j), w4, total)
                    total = multiply_add(load(s, k + 4 * row + j), w5, total)
                    store(strips, to + j, total)
                first += 5


@njit(**JIT)
def pool_columns(out, strips, width, b, rows, pool, floats, tables, down, planes, lanes):
    """Add the strips of horizontal offset ``b`` to all planes behind the pool.

    ``rows``: outputs and table of the strips, as in :func:`pool_rows`; ``pool`` likewise for
    columns; ``planes`` is the table of the planes behind, ``down`` its number of columns.
    """
    tall, strip_table = rows
    taps, stride, low, outputs, weights = pool
    left = max(0, -b)
    for offset in range((b - taps) // stride, (b + taps) // stride + 2):
        shift = b - stride * offset
        if abs(shift) >= taps or abs(offset) >= outputs:
            continue
        corner, wide = max(0, -offset), outputs - abs(offset)
        for a in range(1 - tall, tall):
            strip = tables[strip_table + a + tall - 1]
            place = tables[planes + (a + tall - 1) * down + offset + outputs - 1]
            if strip < 0 or place < 0:
                continue
            for j in range(wide):
                start = stride * (j + corner) - low - left
                first = max(max(0, -shift), -start)
                last = min(min(taps, taps - shift), width - start)
                mine = weights + (j + corner) * taps
                theirs = weights + (j + corner + offset) * taps + shift
                while first < last:
                    count = last - first
                    to = (place + j) * lanes
                    end = to + (tall - abs(a)) * wide * lanes
                    k = (strip * width + start + first) * lanes
                    w = fill(out, floats[mine + first] * floats[theirs + first])
                    if count == 1:
                        while to < end:
                            store(out, to, multiply_add(load(strips, k), w, load(out, to)))
                            to, k = to + wide * lanes, k + width * lanes
                        break
                    w2 = fill(out, floats[mine + first + 1] * floats[theirs + first + 1])
                    if count == 2:
                        while to < end:
                            total = multiply_add(load(strips, k), w, load(out, to))
                            total = multiply_add(load(strips, k + lanes), w2, total)
                            store(out, to, total)
                            to, k = to + wide * lanes, k + width * lanes
                        break
                    w3 = fill(out, floats[mine + first + 2] * floats[theirs + first + 2])
                    while to < end:
                        total = multiply_add(load(strips, k), w, load(out, to))
                        total = multiply_add(load(strips, k + lanes), w2, total)
                        total = multiply_add(load(strips, k + 2 * lanes), w3, total)
                        store(out, to, total)
                        to, k = to + wide * lanes, k + width * lanes
                    first += 3
