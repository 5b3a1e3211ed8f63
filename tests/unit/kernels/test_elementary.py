"""Elementary functions of vectors, against SciPy in float64."""

import numpy as np
import pytest
from numba import njit

from gramserve.kernels.cpu.elementary import (
    arcsine,
    bounded_exponential,
    clipped,
    decay,
    exponential,
    hyperbolic,
    q_of,
    r_of,
)
from gramserve.kernels.cpu.lanes import load, root, store


@njit
def _exponential(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, exponential(load(x, k)))


@njit
def _arcsine(out, x, lanes):
    for k in range(0, len(x), lanes):
        t = load(x, k)
        store(out, k, arcsine(t, 1.0 - t))


@njit
def _order_one(out, x, lanes):
    for k in range(0, len(x), lanes):
        u = load(x, k)
        store(out, k, u * root(u) * q_of(u) + (1.0 - u))


@njit
def _angle(out, x, lanes):
    for k in range(0, len(x), lanes):
        u = load(x, k)
        store(out, k, root(u) * r_of(u))


@njit
def _clipped(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, clipped(load(x, k)))


def apply(function, x, dtype):
    """Values of a compiled function, with its arguments as they were rounded."""
    lanes = 64 // np.dtype(dtype).itemsize
    x = np.resize(np.asarray(x, dtype), -(-len(x) // lanes) * lanes)
    out = np.empty_like(x)
    function(out, x, lanes)
    return out.astype(np.float64), x.astype(np.float64)


both = pytest.mark.parametrize(("dtype", "eps"), [("float32", 2**-23), ("float64", 2**-52)])
UNIT = np.concatenate([[0, 1, 0.5, 1e-300, 1e-30, 1e-9], np.linspace(0, 1, 4001)])


@both
def test_exp_is_exact_to_rounding_up_to_80(dtype, eps):
    found, x = apply(_exponential, np.linspace(-80, 80, 5001), dtype)
    # The multiple of log 2 that is taken off is rounded: a few digits of the last where it is 115.
    np.testing.assert_allclose(found, np.exp(x), rtol=eps * 16)
    found, _ = apply(_exponential, [-1e4, -750.0, -200.0, 0.0], dtype)
    assert (found >= 0).all()
    assert found[0] < 1e-37
    assert found[3] == pytest.approx(1, rel=eps)


@both
def test_arc_sine_keeps_its_relative_precision_near_zero(dtype, eps):
    found, t = apply(_arcsine, UNIT, dtype)
    near = t < 1 - 1e-3  # nearer to 1 it is 1 - t that counts, which callers know better
    np.testing.assert_allclose(found[near], np.arcsin(t[near]), rtol=eps * 4)
    np.testing.assert_allclose(found, np.arcsin(t), atol=8 * np.sqrt(eps) * 1e-3 + 4 * eps)


@both
def test_the_arc_cosine_kernels_are_exact_to_rounding(dtype, eps):
    found, u = apply(_order_one, UNIT, dtype)
    angle = 2 * np.arcsin(np.sqrt(u / 2))
    exact = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    np.testing.assert_allclose(found, exact, atol=2 * eps)
    found, u = apply(_angle, UNIT, dtype)
    np.testing.assert_allclose(found, 2 * np.arcsin(np.sqrt(u / 2)) / np.pi, atol=2 * eps)


@both
def test_cosines_are_moved_between_minus_one_and_one(dtype, eps):
    found, x = apply(_clipped, [-2, -1 - eps, -0.5, -0.0, 0.5, 1 + eps, 3, 1], dtype)
    np.testing.assert_array_equal(found, np.clip(x, -1, 1))


@njit
def _bounded_exponential(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, bounded_exponential(load(x, k)))


@njit
def _decayed(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, decay(load(x, k))[0])


@njit
def _risen(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, decay(load(x, k))[1])


@njit
def _hyperbolic_sine(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, hyperbolic(load(x, k))[0])


@njit
def _hyperbolic_cosine(out, x, lanes):
    for k in range(0, len(x), lanes):
        store(out, k, hyperbolic(load(x, k))[1])


@both
def test_bounded_exp_ends_where_the_numbers_do(dtype, eps):
    largest = 87.9 if dtype == "float32" else 708.9
    found, x = apply(_bounded_exponential, np.linspace(-largest + 1, largest, 5001), dtype)
    np.testing.assert_allclose(found, np.exp(x), rtol=eps * 128)
    found, _ = apply(_bounded_exponential, [largest + 1, 1e6, 1e30, np.inf], dtype)
    assert (found == np.inf).all()


@both
def test_decay_keeps_the_digits_of_one_minus_itself(dtype, eps):
    tiny = np.logspace(-30, -0.5, 301)
    x = np.concatenate([[0], tiny, np.linspace(0.3, 0.4, 301), np.linspace(0.4, 80, 301)])
    found, x = apply(_decayed, x, dtype)
    np.testing.assert_allclose(found, np.exp(-x), rtol=16 * eps)
    found, x = apply(_risen, x, dtype)
    np.testing.assert_allclose(found, -np.expm1(-x), rtol=4 * eps)


@both
def test_sinh_and_cosh_are_exact_to_rounding_up_to_a_quarter(dtype, eps):
    x = np.concatenate([np.linspace(-0.25, 0.25, 1001), np.logspace(-30, -1, 101)])
    found, x = apply(_hyperbolic_sine, x, dtype)
    np.testing.assert_allclose(found, np.sinh(x), rtol=4 * eps)
    found, x = apply(_hyperbolic_cosine, x, dtype)
    np.testing.assert_allclose(found, np.cosh(x), rtol=2 * eps)


@both
@pytest.mark.parametrize("function", [_exponential, _bounded_exponential, _clipped])
def test_what_is_not_a_number_stays_so(function, dtype, eps):
    found, _ = apply(function, [np.nan, 0.5], dtype)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


@both
@pytest.mark.parametrize("function", [_exponential, _clipped, _decayed])
def test_an_infinite_argument_gives_no_number(function, dtype, eps):
    found, _ = apply(function, [np.inf, 0.5], dtype)
    assert not np.isfinite(found[0])
