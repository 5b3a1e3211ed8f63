"""The CUDA engine's duals, run on this machine: the same sources, compiled for it by g++."""

import ctypes
import re

import numpy as np
import pytest
from device_sources import SCALARS, SOURCES, compile_for_host, pointers
from dual_ranges import AWAY, COSINES, RANGES, TOLERANCES, moments_of
from every_activation import ACTIVATIONS, DEGREES_OF_TEMPLATES, NUMERIC, STEPS, spec_of

from gramserve.kernels.cuda.activations import find_unsupported, functor_of
from gramserve.kernels.duals import evaluate_dual
from gramserve.kernels.moments import Moments

LAYERS = ACTIVATIONS | DEGREES_OF_TEMPLATES

BOUNDS = {**RANGES, "order 7": (-3, 3), "order 20": (-0.5, 0.5)}
"""Powers of ten of the variances, where they are not -6 to 6: high powers leave float32."""

FREE = {"square", "constant"}
"""Those that no variance enters."""

DUALS = [name for name in LAYERS if name != "norm of all"]
"""Those that have a dual of one pair of positions."""

both = pytest.mark.parametrize("dtype", ["float32", "float64"])
every = pytest.mark.parametrize("activation", LAYERS)

HARNESS = """
#include "duals.cuh"
using namespace gramserve;

template <class F, bool SLOPE, class T>
static void run(long count, const T* s, const Roots<T>* x, const Roots<T>* y, const T* numbers,
                T* value, T* slope) {
  for (long k = 0; k < count; ++k) {
    const Moments<T> found = F::template take<SLOPE>(s[k], x[k], y[k], numbers);
    value[k] = found.value;
    slope[k] = found.slope;
  }
}
template <class T>
static void project(long count, const T* s, const T* t, const Roots<T>* x, const Roots<T>* y,
                    T* value, T* slope) {
  for (long k = 0; k < count; ++k) {
    const Moments<T> found = Project::take<true>(s[k], t[k], x[k], y[k]);
    value[k] = found.value;
    slope[k] = found.slope;
  }
}
#define EXPORT(T)                                                                          \\
  extern "C" void project_##T(long count, const T* s, const T* t, const Roots<T>* x,       \\
                              const Roots<T>* y, T* value, T* slope) {                     \\
    project<T>(count, s, t, x, y, value, slope);                                           \\
  }
EXPORT(float)
EXPORT(double)
#undef EXPORT
#define EXPORT(NAME, TYPE, T)                                                              \\
  extern "C" void NAME##_##T(int wanted, long count, const T* s, const Roots<T>* x,        \\
                             const Roots<T>* y, const T* numbers, T* value, T* slope) {    \\
    if (wanted) run<TYPE, true, T>(count, s, x, y, numbers, value, slope);                 \\
    else run<TYPE, false, T>(count, s, x, y, numbers, value, slope);                       \\
  }                                                                                        \\
  extern "C" int NAME##_numbers_##T() { return TYPE::NUMBERS; }
"""


def layer_of(activation):
    return spec_of(LAYERS[activation]).layers[0]


def types():
    """Return the C++ types of all layers, each once."""
    return sorted({functor_of(layer_of(name))[0] for name in LAYERS})


def symbol(cpp_type):
    return re.sub(r"\W+", "_", cpp_type)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """All duals as functions of arrays."""
    exports = [
        f"EXPORT({symbol(name)}, {name}, {scalar})"
        for name in types()
        for scalar in SCALARS.values()
    ]
    return compile_for_host(tmp_path_factory.mktemp("duals"), "\n".join([HARNESS, *exports]))


def paired(roots):
    """Return ``n`` and ``1 / n``, 0 where that is 0, side by side."""
    with np.errstate(divide="ignore"):
        return np.stack([roots, np.where(roots == 0, 0, 1 / roots)], axis=-1).astype(roots.dtype)


def run(library, activation, covariances, roots, others, *, slope=True):
    """Return value and slope of arrays of one shape."""
    dtype = covariances.dtype
    cpp_type, numbers = functor_of(layer_of(activation))
    s, x, y = (
        np.ascontiguousarray(part)
        for part in (
            covariances,
            paired(np.broadcast_to(roots, covariances.shape)),
            paired(np.broadcast_to(others, covariances.shape)),
        )
    )
    out = np.full((2, *s.shape), np.nan, dtype)
    function = getattr(library, f"{symbol(cpp_type)}_{SCALARS[str(dtype)]}")
    numbers = np.array([*numbers, 0.0], dtype)
    function(slope, ctypes.c_long(s.size), *pointers(s, x, y, numbers, out[0], out[1]))
    return out


def test_every_struct_is_run():
    written = set()
    duals = re.findall(r'#include "(\w+\.cuh)"', (SOURCES / "duals.cuh").read_text())
    for path in [SOURCES / name for name in duals]:
        found = re.findall(r"struct (\w+)[^{;]*{\s*static constexpr int NUMBERS", path.read_text())
        written |= set(found)
    named = {re.match(r"gramserve::(\w+)", name)[1] for name in types()}
    assert named | {"Project"} == written


@both
@every
def test_a_layer_has_as_many_numbers_as_its_struct_reads(library, activation, dtype):
    cpp_type, numbers = functor_of(layer_of(activation))
    assert getattr(library, f"{symbol(cpp_type)}_numbers_{SCALARS[dtype]}")() == len(numbers)


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="nothing is more precise than float64 here"
)
@pytest.mark.parametrize("activation", DUALS)
@pytest.mark.parametrize(("dtype", "nngp", "ntk"), TOLERANCES)
def test_duals_are_exact_to_rounding(library, activation, dtype, nngp, ntk):
    dtype = np.dtype(dtype)
    layer = layer_of(activation)
    bounds = BOUNDS.get(activation, (-6, 6))
    covariances, (roots, others), moments = moments_of(dtype, *bounds)
    found = run(library, activation, covariances, roots[:, None], others)
    with np.errstate(under="ignore"):
        wanted = evaluate_dual(layer, moments, slope=True)
    away = np.tile(AWAY, len(covariances))
    for kernel, values, dual in zip(("nngp", "ntk"), found, wanted, strict=True):
        exact = np.broadcast_to(dual, values.shape)
        error = np.abs(values - exact)
        if kernel == "ntk" or activation in STEPS:
            error, limit = error[:, away], ntk
        else:
            limit = nngp
        assert error.max() <= limit * (np.abs(exact).max() or 1)


@both
@every
def test_without_slope_the_value_is_the_same(library, activation, dtype):
    bounds = BOUNDS.get(activation, (-6, 6))
    covariances, (roots, others), _ = moments_of(np.dtype(dtype), *bounds)
    value, slope = run(library, activation, covariances, roots[:, None], others, slope=False)
    both_at_once, _ = run(library, activation, covariances, roots[:, None], others)
    # But for cosines that are -1 up to rounding, which the slope alone needs to be cut.
    norms = np.abs(both_at_once).max(axis=-1, keepdims=True)
    assert (np.abs(value - both_at_once) <= 2 * np.finfo(dtype).eps * norms).all()
    assert (slope == 0).all()


@both
@every
def test_a_zero_variance_has_the_cosine_0(library, activation, dtype):
    roots = np.array([0, 0, 1.5], dtype)
    others = np.array([0, 0.5, 0], dtype)
    zero = np.zeros(3, dtype)
    found = run(library, activation, zero, roots, others)
    moments = Moments(*(part.astype(np.float64) for part in (zero, roots**2, others**2)))
    wanted = evaluate_dual(layer_of(activation), moments, slope=True)
    for values, dual in zip(found, wanted, strict=True):
        limit = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(values, np.broadcast_to(dual, 3), rtol=limit, atol=limit)


def exact_duals(activation, sign, roots, others):
    """Return the duals at angle 0 or pi, which rounding of a cosine would spoil."""
    n, m = roots.astype(np.float64), others.astype(np.float64)
    moments = Moments(sign * n * m, n**2, m**2)
    vars(moments)["cosine"] = np.full(n.shape, float(sign))
    return [
        np.broadcast_to(dual, n.shape)
        for dual in evaluate_dual(layer_of(activation), moments, slope=True)
    ]


@both
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("activation", DUALS)
def test_an_item_against_itself_or_its_opposite_is_exact(library, activation, dtype, sign):
    """The covariance is ``n n'`` as that is rounded, or off by one more rounding."""
    dtype = np.dtype(dtype)
    low, high = BOUNDS.get(activation, (-6, 6))
    # Further on, rounding of S moves the duals that see differences of large variances.
    roots = np.sqrt(np.logspace(low, min(high, 1), 301)).astype(dtype)
    others = roots[::-1].copy()
    sizes = exact_duals(activation, 1, roots, others)
    for scale in (1, 1 + np.finfo(dtype).eps, 1 - np.finfo(dtype).eps):
        covariances = (sign * roots * others * dtype.type(scale)).astype(dtype)
        found = run(library, activation, covariances, roots, others)
        wanted = exact_duals(activation, sign, roots, others)
        for values, exact, size in zip(found, wanted, sizes, strict=True):
            limit = 1e-14 if dtype == np.float64 else 4e-6
            assert np.abs(values - exact).max() <= limit * (np.abs(size).max() or 1)


@both
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "step", "erf", "gelu", "gaussian"])
def test_variances_at_the_ends_of_the_dtype(library, activation, dtype):
    dtype = np.dtype(dtype)
    high = 16 if dtype == np.float32 else 150
    low = -16 if dtype == np.float32 else -150
    roots = np.logspace(low, high, 9).astype(dtype)
    others = np.repeat(roots, len(COSINES))
    covariances = roots[:, None] * others * np.tile(COSINES, len(roots)).astype(dtype)
    found = run(library, activation, covariances, roots[:, None], others)
    assert np.isfinite(found).all()


@both
@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_an_angle_between_items_too_large_for_the_dtype_is_no_number(library, activation, dtype):
    largest = np.finfo(dtype).max
    roots = np.sqrt(np.array([largest, largest / 2], dtype))
    covariances = (roots * roots * np.array([0.1, -0.3])).astype(dtype)
    value, _ = run(library, activation, covariances, roots, roots)
    right = activation == "gelu" and np.isfinite(value)
    assert (~np.isfinite(value) | right).all()


@both
@every
def test_what_is_not_finite_stays_so(library, activation, dtype):
    bad = np.array([np.nan, np.inf, -np.inf], dtype)
    one = np.ones(3, dtype)
    for roots in (one, 1e-3 * one, 0 * one):
        value, _ = run(library, activation, bad, roots, one)
        assert not np.isfinite(value).any()
        value, _ = run(library, activation, bad, roots, one, slope=False)
        assert not np.isfinite(value).any()


@both
@pytest.mark.parametrize("activation", [name for name in LAYERS if name not in FREE])
def test_a_variance_that_is_no_number_gives_none(library, activation, dtype):
    bad = np.array([np.nan], dtype)
    one = np.ones(1, dtype)
    assert not np.isfinite(run(library, activation, one, bad, one)[0]).any()
    assert not np.isfinite(run(library, activation, one, one, bad, slope=False)[0]).any()


@both
def test_projecting_divides_both_kernels_by_the_norms(library, dtype):
    rng = np.random.default_rng(0)
    n, m = (rng.uniform(0.1, 10, 300).astype(dtype) for _ in range(2))
    n[:2], m[1:3] = 0, 0
    s, t = (n * m).astype(dtype), rng.normal(size=300).astype(dtype)
    out = np.empty((2, 300), dtype)
    function = getattr(library, f"project_{SCALARS[dtype]}")
    function(ctypes.c_long(300), *pointers(s, t, paired(n), paired(m), out[0], out[1]))
    assert (out[0, 3:] == 1).all()
    assert (out[:, :3] == 0).all()
    wanted = t[3:].astype(np.float64) / (n[3:].astype(np.float64) * m[3:])
    np.testing.assert_allclose(out[1, 3:], wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("activation", LAYERS)
def test_every_activation_is_supported(activation):
    assert find_unsupported(spec_of(LAYERS[activation]).layers) is None


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"type": "center"}, r"^layers\[0\] \(center\) couples all offset planes"),
        (NUMERIC["tanh"], "needs a series of its own at every position"),
        ({"type": "exp_normalized", "gamma": 90.0, "shift": 0.0}, "takes exp of more than 80"),
        ({"type": "gaussian", "b": 0.1}, "grows"),
        ({"type": "monomial", "degree": 64}, "has weights above"),
        ({"type": "arc_cosine", "order": 21}, "is of an order above 20"),
    ],
)
def test_what_is_not_supported_has_a_reason(layer, reason):
    assert re.search(reason, find_unsupported(spec_of(layer).layers))


def test_a_reason_names_the_branch():
    branches = [[{"type": "relu"}], [{"type": "relu"}, {"type": "center"}]]
    found = find_unsupported(spec_of({"type": "residual", "branches": branches}).layers)
    assert found.startswith("layers[0].branches[1][1] (center)")
