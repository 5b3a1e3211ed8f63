"""Roots, inverses and elementary functions of the CUDA engine, against NumPy in more digits."""

import ctypes

import numpy as np
import pytest
from device_sources import SCALARS, compile_for_host, pointers

FUNCTIONS = {
    "root": "root_in_unit(x)",
    "inverse_root": "inverse_root(x)",
    "inverse_root_or_zero": "inverse_root_or_zero(x)",
    "reciprocal": "reciprocal(x)",
    "exponential": "exponential(x)",
    "bounded": "bounded_exponential(x)",
    "left": "decay(x).left",
    "gone": "decay(x).gone",
    "arcsine": "arcsine(x, T(1) - x)",
    "sine": "hyperbolic(x).sine",
    "cosine": "hyperbolic(x).cosine",
    "clip": "clipped(x)",
}

both = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    kernels = [
        f'extern "C" void {name}_{scalar}(long count, const {scalar}* in, {scalar}* out) {{\n'
        f"  using T = {scalar};\n"
        "  for (long k = 0; k < count; ++k) {\n"
        "    const T x = in[k];\n"
        f"    out[k] = {value};\n"
        "  }\n"
        "}\n"
        for scalar in SCALARS.values()
        for name, value in FUNCTIONS.items()
    ]
    source = '#include "elementary.cuh"\nusing namespace gramserve;\n' + "\n".join(kernels)
    return compile_for_host(tmp_path_factory.mktemp("elementary"), source)


@pytest.fixture
def apply(library, dtype):
    """Return a function's values, and its arguments as they were rounded."""

    def of(name, x):
        x = np.asarray(x, dtype)
        out = np.empty_like(x)
        function = getattr(library, f"{name}_{SCALARS[dtype]}")
        function(ctypes.c_long(len(x)), *pointers(x, out))
        return out.astype(np.float64), x.astype(np.float64)

    return of


def wide(dtype):
    """Numbers of all sizes that are no less than normal, and whose inverses are normal too."""
    power = 37 if dtype == "float32" else 307
    return np.logspace(-power, power, 4001)


@both
def test_roots_and_inverses_are_exact_to_rounding(apply, dtype):
    eps = np.finfo(dtype).eps
    found, x = apply("inverse_root", wide(dtype))
    np.testing.assert_allclose(found, 1 / np.sqrt(x), rtol=2 * eps)
    found, x = apply("reciprocal", wide(dtype))
    np.testing.assert_allclose(found, 1 / x, rtol=2 * eps)
    found, x = apply("root", [0, *np.logspace(-36, 0, 4001), 1])
    np.testing.assert_allclose(found, np.sqrt(x), rtol=2 * eps)
    assert found[0] == 0
    assert found[-1] == 1


@both
def test_roots_of_next_to_nothing_are_next_to_nothing(apply, dtype):
    smallest = np.finfo(dtype).tiny
    found, _ = apply("root", np.geomspace(smallest, smallest * 1e10, 1001))
    assert (np.abs(found) < 1e-13).all()


@both
def test_the_inverse_root_of_0_is_0_where_asked_for(apply, dtype):
    found, _ = apply("inverse_root_or_zero", [0, np.finfo(dtype).tiny / 4, 4, np.nan])
    np.testing.assert_array_equal(found, [0, 0, 0.5, np.nan])


@both
def test_exponentials_are_exact_to_rounding(apply, dtype):
    eps = np.finfo(dtype).eps
    found, x = apply("exponential", np.linspace(-80, 80, 5001))
    np.testing.assert_allclose(found, np.exp(x), rtol=16 * eps)
    found, x = apply("left", np.linspace(0, 80, 5001))
    np.testing.assert_allclose(found, np.exp(-x), rtol=16 * eps)
    found, x = apply("gone", np.concatenate([[0], np.logspace(-30, 1.9, 5001)]))
    np.testing.assert_allclose(found, -np.expm1(-x), rtol=4 * eps)
    x = np.linspace(-0.25, 0.25, 1001)
    for name, function in (("sine", np.sinh), ("cosine", np.cosh)):
        found, rounded = apply(name, x)
        np.testing.assert_allclose(found, function(rounded), rtol=4 * eps)


@both
def test_exponentials_end_where_the_numbers_do(apply, dtype):
    largest = 87.9 if dtype == "float32" else 708.9
    found, x = apply("bounded", np.linspace(-largest + 1, largest, 5001))
    np.testing.assert_allclose(found, np.exp(x), rtol=128 * np.finfo(dtype).eps)
    found, _ = apply("bounded", [largest + 1, 1e6, 1e30, np.inf])
    assert (found == np.inf).all()
    found, _ = apply("exponential", [-1e4, -1e30])
    assert (found >= 0).all()
    assert (found < 1e-37).all()


@both
def test_the_arc_sine_is_exact_to_rounding(apply, dtype):
    eps = np.finfo(dtype).eps
    found, t = apply("arcsine", np.concatenate([[0, 1e-30, 0.5, 1], np.linspace(0, 1, 4001)]))
    near = t < 1 - 1e-3
    np.testing.assert_allclose(found[near], np.arcsin(t[near]), rtol=4 * eps)
    np.testing.assert_allclose(found, np.arcsin(t), atol=8 * np.sqrt(eps) * 1e-3 + 4 * eps)


@both
def test_cosines_are_moved_between_minus_one_and_one(apply, dtype):
    eps = np.finfo(dtype).eps
    found, x = apply("clip", [-2, -1 - eps, -0.5, -0.0, 0.5, 1 + eps, 3, 1])
    np.testing.assert_array_equal(found, np.clip(x, -1, 1))


@both
@pytest.mark.parametrize("name", ["exponential", "bounded", "left", "clip", "inverse_root"])
def test_what_is_not_a_number_stays_so(apply, dtype, name):
    assert np.isnan(apply(name, [np.nan])[0]).all()


@both
@pytest.mark.parametrize("name", ["exponential", "left", "clip"])
def test_infinite_arguments_give_no_number(apply, dtype, name):
    assert not np.isfinite(apply(name, [np.inf, -np.inf])[0][0])
