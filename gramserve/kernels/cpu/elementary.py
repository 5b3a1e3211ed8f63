"""Elementary functions of vectors, by polynomials that are exact to rounding.

With ``u = 1 - |c|``, the arc-cosine kernels of order 1 and 0 are

``k1(c) = max(c, 0) + u^(3/2) Q(u)``, and ``k0(c) = 1 - r`` for ``c >= 0``, else ``r``, with
``r = sqrt(u) R(u)``,

where ``Q`` and ``R`` are smooth on [0, 1]. Likewise ``asin(y) = y + y z P(z)`` with ``z = y^2``
up to 1/4, and ``exp(v) = 2^k E(v - k log 2)``. All four are replaced by the polynomials that
interpolate them at Chebyshev nodes: for float32 of degree 5, 6, 4 and 5 with errors of 5e-8
(Q, times u^(3/2)), 7e-8 (R, times u^(1/2)), 7e-8 (P, times y z <= 1/8) and 8e-8, for float64 of
degree 15, 17, 11 and 11 with errors of at most 3e-16. ``(1 - exp(-v)) / v`` up to 0.36 is taken
likewise (2e-10, 1e-16), and sinh and cosh up to 1/4 by their Taylor series.
"""

from math import inf, log, pi
from typing import Any

from numba import njit, types
from numba.extending import overload

from gramserve.kernels.cpu.lanes import (
    JIT,
    ROUNDER,
    Lanes,
    magnitude,
    multiply_add,
    polynomial,
    root,
    spread,
    times_power_of_two,
    where_less,
)

_Q = {
    types.float32: (
        0.3001054096005962, 0.01500735753322431, 0.0023878848222679814, 0.0006537140814849389,
        -1.0112491988163717e-05, 0.00016558550229587562,
    ),
    types.float64: (
        0.3001054387190353, 0.015005271935981597, 0.0024115615586107688, 0.0005582319269919874,
        0.0001554153531936233, 4.843370701406519e-05, 1.6168495672590502e-05,
        6.273868204906117e-06, 4.863271207255582e-07, 4.781296999801139e-06,
        -6.569713412240095e-06, 8.748939096378084e-06, -7.541540726598919e-06,
        4.51881604069071e-06, -1.6148755497423985e-06, 2.813695167153694e-07,
    ),
}  # fmt: skip
_R = {
    types.float32: (
        0.45015819426813136, 0.03750964881421261, 0.008495693310904667, 0.0021952971013080263,
        0.0016915896281724009, -0.0007532058077452215, 0.000702718728677509,
    ),
    types.float64: (
        0.45015815807855303, 0.03751317983990087, 0.008440465461671388, 0.002512043390392477,
        0.0008547903362064491, 0.00031474841371315293, 0.00012179309995148756,
        5.0731412533351425e-05, 1.309086039958728e-05, 3.2318558223146044e-05,
        -5.4547524452774663e-05, 0.00010880432314973807, -0.00014684409886035556,
        0.00015019896042743733, -0.00010919390624263855, 5.44724070492598e-05,
        -1.6631828062107084e-05, 2.4222154464628605e-06,
    ),
}  # fmt: skip
_P = {
    types.float32: (
        0.16666672414795305, 0.07498855072600821, 0.04500138006991017, 0.026554542206161328,
        0.038085023561092654,
    ),
    types.float64: (
        0.1666666666666665, 0.07500000000020764, 0.044642857103423646, 0.03038194736709848,
        0.02237204763174451, 0.017355259955786323, 0.013929652902326633, 0.011875494382636922,
        0.0078029494773533175, 0.01603551434914882, -0.010749050339697808, 0.028169218060881414,
    ),
}  # fmt: skip
_E = {
    types.float32: (
        1.00000007550023, 1.00000001077804, 0.4999886892528609, 0.1666650519575811,
        0.04191755754136265, 0.008369155667697397,
    ),
    types.float64: (
        1.0, 1.0, 0.5000000000000019, 0.1666666666666668, 0.04166666666648795,
        0.008333333333319589, 0.0013888888952352863, 0.00019841269890076403,
        2.4801485441561313e-05, 2.755724088722987e-06, 2.763265472252779e-07,
        2.5110049204818658e-08,
    ),
}  # fmt: skip

_N = {
    types.float32: (
        0.9999999998155568, -0.49999996308795386, 0.16666546651845107, -0.041652345987567736,
        0.008255616041445736, -0.0011916411817301565,
    ),
    types.float64: (
        1.0, -0.5, 0.16666666666666557, -0.04166666666663062, 0.008333333332646124,
        -0.001388888880051368, 0.00019841262066406897, -2.480113117399273e-05,
        2.7540009513719855e-06, -2.715122917822724e-07, 1.9685452851060783e-08,
        1.0438872407569649e-09,
    ),
}  # fmt: skip
_SINH = {
    types.float32: (1.0, 1 / 6, 1 / 120, 1 / 5040),
    types.float64: (1.0, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880, 1 / 39916800),
}
_COSH = {
    types.float32: (1.0, 1 / 2, 1 / 24, 1 / 720),
    types.float64: (1.0, 1 / 2, 1 / 24, 1 / 720, 1 / 40320, 1 / 3628800, 1 / 479001600),
}

_LARGEST = {types.float32: 88.0, types.float64: 709.0}
"""Beyond which exp leaves the numbers."""

_SMALLEST = {types.float32: -87.3, types.float64: -708.3}
"""Where exp leaves the normal numbers."""


q_of = polynomial(_Q)
r_of = polynomial(_R)
_p_of = polynomial(_P)
_e_of = polynomial(_E)
_n_of = polynomial(_N)
_sinh_of = polynomial(_SINH)
_cosh_of = polynomial(_COSH)


@njit(**JIT)
def arcsine(t, rest):  # type: ignore[no-untyped-def]
    """Return ``asin(t)`` of ``t`` in [0, 1], given ``rest = 1 - t`` to its own last digit."""
    far = where_less(t, spread(t, 0.5), spread(t, 0.0), spread(t, 1.0))
    near_z, far_z = t * t, rest * 0.5
    z = multiply_add(far, far_z - near_z, near_z)
    y = multiply_add(far, root(far_z) - t, t)
    value = multiply_add(y * z, _p_of(z), y)
    return where_less(spread(t, 0.0), far, (pi / 2) - 2.0 * value, value)


def exponential(v: Any) -> Any:
    """Return ``exp(v)`` of ``v`` up to 80; about 1e-38 or 1e-308 where it would be less.

    Of what is not finite, negative infinity included, it is NaN.
    """
    raise NotImplementedError


@overload(exponential, strict=False)
def _choose_exponential(v: Any) -> Any:
    if not isinstance(v, Lanes):
        return None
    rounder, smallest = ROUNDER[v.scalar], _SMALLEST[v.scalar]

    def compute(v):  # type: ignore[no-untyped-def]
        least = spread(v, smallest)
        given = v
        v = where_less(least, v, v, least)
        power = multiply_add(v, spread(v, 1 / log(2)), spread(v, rounder))
        # One multiply-add is exact to k 2e-9 in float32, and k is small where exp is not.
        rest = multiply_add(power - rounder, spread(v, -log(2)), v)
        # The product with 0 is NaN where the argument overflowed: no bound may hide that.
        return multiply_add(given, spread(v, 0.0), times_power_of_two(_e_of(rest), power))

    return compute


def bounded_exponential(v: Any) -> Any:
    """Return ``exp(v)``, infinity where that is no number of the dtype."""
    raise NotImplementedError


@overload(bounded_exponential, strict=False)
def _choose_bounded_exponential(v: Any) -> Any:
    if not isinstance(v, Lanes):
        return None
    largest = _LARGEST[v.scalar]

    def compute(v):  # type: ignore[no-untyped-def]
        most = spread(v, largest)
        value = exponential(where_less(v, most, v, most))
        # What is not a number is not below the largest either.
        return where_less(v, most, value, v * spread(v, inf))

    return compute


@njit(**JIT)
def decay(v):  # type: ignore[no-untyped-def]
    """Return ``exp(-v)`` and ``1 - exp(-v)`` of ``v`` from 0 on, both exact to rounding."""
    value = exponential(spread(v, 0.0) - v)
    near = spread(v, 0.36)
    inside = where_less(v, near, v, near)
    return value, where_less(v, near, inside * _n_of(inside), 1.0 - value)


@njit(**JIT)
def hyperbolic(t):  # type: ignore[no-untyped-def]
    """Return ``sinh(t)`` and ``cosh(t)`` of ``t`` in [-1/4, 1/4]."""
    z = t * t
    return t * _sinh_of(z), _cosh_of(z)


@njit(**JIT)
def clipped(c):  # type: ignore[no-untyped-def]
    """Return ``c`` moved into [-1, 1]; NaN where it is not finite."""
    one = spread(c, 1.0)
    size = magnitude(c)
    size = where_less(one, size, multiply_add(size, spread(c, 0.0), one), size)
    return where_less(c, spread(c, 0.0), spread(c, 0.0) - size, size)
