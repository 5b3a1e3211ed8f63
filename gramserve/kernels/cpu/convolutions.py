"""Convolutions of one plane, in place where they are 3 x 3, and from states into planes.

The fast convolution writes every row where the row above it was, so that a plane moves up by one
row, needs no second buffer and stays in the first cache; ``blank`` is where a row of zeros lies,
which stands above the first row and below the last.
"""

from numba import njit

from gramserve.kernels.cpu.lanes import JIT, fill, load, multiply_add, store


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
def three(s, upper, middle, lower):
    """Return the sum of a column over three rows."""
    return load(s, upper) + load(s, middle) + load(s, lower)


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
        left, here = zero, three(s, upper, middle, lower)
        for j in range(width):
            k = j * lanes
            right = zero
            if j + 1 < width:
                n = k + lanes
                right = three(s, upper + n, middle + n, lower + n)
            store(s, middle - row + k, multiply_add(left + here + right, by, term))
            left, here = here, right


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
