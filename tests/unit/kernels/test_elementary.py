"""Elementary functions of vectors, against SciPy in float64."""

import numpy as np
import pytest
from numba import njit

from gramserve.kernels.cpu.elementary import arcsine, clipped, exponential, q_of, r_of
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
