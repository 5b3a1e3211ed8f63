"""Items that are zero, opposite, equal or constant, huge or tiny: finite, and right."""

import numpy as np
import pytest
from every_activation import ACTIVATIONS, DEGREES, NUMERIC, STEPS, spec_of

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels import ENGINES, Items

REFERENCE, CPU = ENGINES["reference"], ENGINES["cpu"]
MEMORY = 2**28
SHAPE = (4, 5, 2)

CONV, DENSE = {"type": "conv", "size": 3, "b_std": 0.3}, {"type": "dense", "b_std": 0.2}
PLAIN = {"type": "conv", "size": 3}
POOL, MEAN = {"type": "avg_pool", "window": 2}, {"type": "global_avg_pool"}
RELU, FLATTEN = {"type": "relu"}, {"type": "flatten"}

CHAOTIC = {"erf", "sigmoid_like", "sin", "cos", "rbf", "gaussian", "gabor"}
"""What tells huge items apart that differ by rounding alone."""


def network(name, activation, *, steep):
    """A network with an activation; behind a steep one no other, which would take errors' root."""
    after = [] if steep else [RELU]
    match name:
        case "pooled":
            return spec_of(CONV, activation, POOL, CONV, *after, MEAN, DENSE)
        case "without biases":
            return spec_of(PLAIN, activation, {**PLAIN, "padding": "valid"}, FLATTEN)
        case "branches":
            local = {"type": "conv_local", "size": 3, "b_std": 0.1}
            shortcut = {"type": "residual", "branches": [[CONV, activation], []]}
            norm = {"type": "layer_norm", "axes": "all"}
            both = {"type": "concat", "branches": [[norm, local], after]}
            return spec_of(shortcut, both, {**CONV, "padding": "circular"}, MEAN)
        case "vectors":
            return spec_of({"type": "dense"}, activation, DENSE, *after, DENSE)


NETWORKS = ("pooled", "without biases", "branches", "vectors")


def awkward(scale, shape):
    """Ten items: three are equal, others opposite, twice as large, zero or constant in part."""
    x = np.random.default_rng(5).normal(size=shape)
    first = np.indices(shape)[0] < 2
    near = x * (1 + 1e-5 * np.random.default_rng(6).normal(size=shape))
    return scale * np.stack(
        [x, np.zeros(shape), -x, 2 * x, x, x, near, np.ones(shape), -np.ones(shape), x * first]
    )


def gram(engine, spec, x, precision):
    keys = np.arange(len(x))
    if len(x) == 10:
        keys[4] = 0  # the fifth is known to be the first; of the sixth only rounding tells
    variances = engine.variances(spec, x, precision, memory_bytes=MEMORY)
    items = Items(x, variances, keys)
    return engine.evaluate(spec, items, items, precision, memory_bytes=MEMORY)


def items_for(name, scale):
    return awkward(scale, (6,) if name == "vectors" else SHAPE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1.0, 1e18, 1e-18])
def test_engines_agree_on_awkward_items(activation, scale):
    if (activation, scale) == ("exp", 1e18):
        pytest.skip("its values leave float64")
    steep = activation in STEPS
    for name in NETWORKS:
        spec = network(name, ACTIVATIONS[activation], steep=steep)
        x = items_for(name, scale)
        if scale > 1 and activation in CHAOTIC:
            x[2] = scale * np.random.default_rng(8).normal(size=x.shape[1:])
            x = x[:3]
        exact = gram(REFERENCE, spec, x, "float64")
        close(gram(CPU, spec, x, "float64"), exact, "float64", name, steep=steep)
        for engine in (REFERENCE, CPU):
            for precision in ("mixed", "float32"):
                try:
                    found = gram(engine, spec, x, precision)
                except NonFiniteKernelError:
                    # float32 ends at 3e38: powers of huge items are beyond it, and say so.
                    assert scale > 1
                    continue
                close(found, exact, precision, name, steep=steep)


def close(found, exact, precision, name, *, steep):
    """Check symmetry and the table of docs/kernels.md."""
    near, far, own = (1e-12, 1e-7, 1e-10) if precision == "float64" else (2e-6, 5e-4, 5e-6)
    for kernel, values in found.items():
        assert np.array_equal(values, values.T)
        # Powers of tiny items are zero in float32.
        floor = 1e-300 if precision == "float64" else 1e-37
        error = np.abs(values - exact[kernel]) / max(np.abs(exact[kernel]).max(), floor)
        limit = far if kernel == "ntk" or steep else near
        assert error.max() <= limit, (name, kernel, precision)
        # x is x', p = p' is known, not computed: no rounding of a cosine there.
        if name in {"without biases", "vectors"}:
            assert np.diag(error).max() <= own, (name, kernel, precision)


@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
@pytest.mark.parametrize("function", NUMERIC)
@pytest.mark.parametrize("scale", [1.0, 1e18, 1e-18])
def test_numeric_duals_of_awkward_items_are_finite(function, scale):
    for name in NETWORKS:
        spec = network(name, NUMERIC[function], steep=False)
        x = items_for(name, scale)
        exact = gram(REFERENCE, spec, x, "float64")
        for precision in ("mixed", "float32"):
            try:
                found = gram(REFERENCE, spec, x, precision)
            except NonFiniteKernelError:
                assert scale > 1
                continue
            for kernel, values in found.items():
                assert np.array_equal(values, values.T)
                scale_of = np.abs(exact[kernel]).max()
                assert np.abs(values - exact[kernel]).max() <= 5e-4 * scale_of


@pytest.mark.parametrize("scale", [1e18, 1e-18])
@pytest.mark.parametrize("activation", DEGREES)
def test_homogeneous_networks_scale_as_their_items(activation, scale):
    """``k(r x, r x') = r^2 k(x, x')`` to the power of the dual's degree."""
    layer, degree = ACTIVATIONS[activation], DEGREES[activation]
    for spec, shape in (
        (spec_of(PLAIN, layer, POOL, PLAIN, FLATTEN), SHAPE),
        (spec_of({"type": "dense"}, layer, {"type": "dense"}), (6,)),
    ):
        # A power of two, so that scaling rounds nothing.
        factor = 2.0 ** round(np.log2(scale))
        x = awkward(1.0, shape)
        for engine in (REFERENCE, CPU):
            plain, scaled = (gram(engine, spec, each, "float64") for each in (x, factor * x))
            for kernel, values in scaled.items():
                wanted = plain[kernel] * (factor**2) ** degree
                error = np.abs(values - wanted).max()
                steep = kernel == "ntk" or activation in STEPS
                assert error <= np.abs(wanted).max() * (1e-7 if steep else 1e-13)


LIMITS = {
    # Of huge items: a sigmoid is a step, gelu a rectifier.
    ("erf", 1e18): ({"type": "erf"}, {"type": "sign"}, 1.0),
    ("sigmoid_like", 1e18): ({"type": "sigmoid_like"}, {"type": "step"}, 1.0),
    ("gelu", 1e18): ({"type": "gelu"}, {"type": "relu"}, 1.0),
    # Of tiny ones: odd functions are linear.
    ("erf", 1e-18): ({"type": "erf"}, {"type": "identity"}, 4 / np.pi),
    ("gelu", 1e-18): ({"type": "gelu"}, {"type": "identity"}, 0.25),
    ("sin", 1e-18): ({"type": "sin"}, {"type": "identity"}, 1.0),
    ("gabor", 1e-18): ({"type": "gabor"}, {"type": "identity"}, 1.0),
    ("cos", 1e-18): ({"type": "cos"}, {"type": "monomial", "degree": 0}, 1.0),
    ("gaussian", 1e-18): ({"type": "gaussian"}, {"type": "monomial", "degree": 0}, 1.0),
    ("rbf", 1e-18): ({"type": "rbf"}, {"type": "monomial", "degree": 0}, 1.0),
}


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: f"{case[0]} at {case[1]:g}")
@pytest.mark.parametrize("engine", [REFERENCE, CPU], ids=lambda engine: engine.name)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_bounded_activations_have_their_limits(case, engine, precision):
    layer, other, factor = LIMITS[case]
    # Neither zeros nor multiples: a sigmoid of zero is not what a step makes of it.
    x = case[1] * np.random.default_rng(7).normal(size=(5, *SHAPE))
    ends = (PLAIN, FLATTEN)
    found = gram(engine, spec_of(PLAIN, layer, *ends), x, precision)["nngp"]
    wanted = factor * gram(REFERENCE, spec_of(PLAIN, other, *ends), x, "float64")["nngp"]
    near = 1e-12 if precision == "float64" else 2e-6
    assert np.abs(found - wanted).max() <= near * np.abs(wanted).max()


def test_distances_of_huge_items_are_infinite_but_to_themselves():
    x = 1e18 * np.random.default_rng(7).normal(size=(5, 6))
    spec = spec_of({"type": "dense"}, {"type": "rbf"})
    for engine in (REFERENCE, CPU):
        for precision in ("float64", "mixed", "float32"):
            found = gram(engine, spec, x, precision)["nngp"]
            np.testing.assert_allclose(found, np.eye(5), rtol=2.5e-7, atol=1e-37)


@pytest.mark.parametrize("scale", [1e-90, 1e90])
@pytest.mark.parametrize("engine", [REFERENCE, CPU], ids=lambda engine: engine.name)
def test_variances_whose_products_leave_float64_still_have_a_cosine(engine, scale):
    x = np.random.default_rng(7).normal(size=(4, 3))
    spec = spec_of({"type": "dense"}, {"type": "step"}, {"type": "dense"})
    plain, scaled = (gram(engine, spec, each, "float64")["nngp"] for each in (x, scale * x))
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)
