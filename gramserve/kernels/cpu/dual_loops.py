"""The duals of all kinds, over planes."""

from numba import njit

from gramserve.kernels.closed_forms import (
    BELL,
    BENT,
    DISTANCE,
    ERROR_FUNCTION,
    ERROR_UNIT,
    EXPONENTIAL,
    GROWTH,
    NORMALISE,
    POWER,
    RAMP,
    RAMP_POWER,
    RAMP_SQUARED,
    RIPPLED_BELL,
    SERIES,
    SQUARE,
    STAIR,
    WAVE,
)
from gramserve.kernels.cpu import duals
from gramserve.kernels.cpu.elementary import clipped
from gramserve.kernels.cpu.lanes import JIT, fill, load, multiply_add, store, take


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
                        small, degree, floats, place,
                    )  # fmt: skip
                    store(s, k, value)
                    store(t, k, load(t, k) * slope)
            else:
                for j in range(width):
                    k, m, n = row + j * lanes, mine + j * x_step, theirs + j * y_step
                    value, _ = dual(
                        load(s, k), take(nx, m), take(ix, m), load(ny, n), load(iy, n), a, b, e, f,
                        small, degree, floats, place,
                    )  # fmt: skip
                    store(s, k, value)

    return loop


ramp_plane = _dual_loop(duals.ramp)
bent_plane = _dual_loop(duals.bent)
stair_plane = _dual_loop(duals.stair)
ramp_squared_plane = _dual_loop(duals.ramp_squared)
ramp_power_plane = _dual_loop(duals.ramp_power)
error_function_plane = _dual_loop(duals.error_function)
error_unit_plane = _dual_loop(duals.error_unit)
bell_plane = _dual_loop(duals.bell)
rippled_bell_plane = _dual_loop(duals.rippled_bell)
wave_plane = _dual_loop(duals.wave)
distance_plane = _dual_loop(duals.distance)
growth_plane = _dual_loop(duals.growth)
series_plane = _dual_loop(duals.series)
normalise_plane = _dual_loop(duals.normalise)
exponential_plane = _dual_loop(duals.exponential_of_cosine)
power_plane = _dual_loop(duals.power_of_cosine)
square_plane = _dual_loop(duals.square)


@njit(**JIT)
def numeric_plane(s, t, at, size, mine, theirs, my_terms, their_terms, degree, lanes, ntk):
    """``S' = sum_k a_k a'_k c^k``, and ``T'`` is ``T`` times the same of the derivative.

    ``mine`` and ``theirs`` are inverses of variances with the first one's place and the steps from
    row to row and from column to column; ``my_terms`` and ``their_terms`` coefficients with the
    first one's place and the steps from variance to variance and from term to term. Those of the
    derivative follow.
    """
    height, width = size
    ix, x_at, x_pitch, x_step = mine
    iy, y_at, y_pitch, y_step = theirs
    ax, a_at, a_gap, a_step = my_terms
    ay, b_at, b_gap, b_step = their_terms
    for r in range(height):
        for j in range(width):
            k = at + (r * width + j) * lanes
            m = r * x_pitch + j * x_step
            n = r * y_pitch * lanes + j * y_step
            c = clipped(load(s, k) * take(ix, x_at + m) * load(iy, y_at * lanes + n))
            value, slope = fill(s, 0.0), fill(s, 0.0)
            a, b = a_at + m * a_gap, b_at * lanes + n * b_gap
            for term in range(degree - 1, -1, -1):
                product = take(ax, a + term * a_step) * load(ay, b + term * b_step * lanes)
                value = multiply_add(value, c, product)
            store(s, k, value)
            if ntk:
                for term in range(2 * degree - 1, degree - 1, -1):
                    product = take(ax, a + term * a_step) * load(ay, b + term * b_step * lanes)
                    slope = multiply_add(slope, c, product)
                store(t, k, load(t, k) * slope)


@njit(**JIT)
def take_dual(kind, *plane):
    """Take the dual of one kind of a plane: the arguments of :func:`_dual_loop`'s loops."""
    if kind == RAMP:
        ramp_plane(*plane)
    elif kind == BENT:
        bent_plane(*plane)
    elif kind == STAIR:
        stair_plane(*plane)
    elif kind == RAMP_SQUARED:
        ramp_squared_plane(*plane)
    elif kind == RAMP_POWER:
        ramp_power_plane(*plane)
    elif kind == ERROR_FUNCTION:
        error_function_plane(*plane)
    elif kind == ERROR_UNIT:
        error_unit_plane(*plane)
    elif kind == BELL:
        bell_plane(*plane)
    elif kind == RIPPLED_BELL:
        rippled_bell_plane(*plane)
    elif kind == WAVE:
        wave_plane(*plane)
    elif kind == DISTANCE:
        distance_plane(*plane)
    elif kind == GROWTH:
        growth_plane(*plane)
    elif kind == SERIES:
        series_plane(*plane)
    elif kind == NORMALISE:
        normalise_plane(*plane)
    elif kind == EXPONENTIAL:
        exponential_plane(*plane)
    elif kind == POWER:
        power_plane(*plane)
    elif kind == SQUARE:
        square_plane(*plane)
