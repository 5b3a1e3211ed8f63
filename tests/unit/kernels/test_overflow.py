"""Values that are too large: an error that names layer, type, pair and remedy, never a number."""

import numpy as np
import pytest
from every_activation import spec_of

from gramserve.compute import compute_gram
from gramserve.errors import NonFiniteKernelError
from gramserve.kernels import ENGINES, Items

REFERENCE, CPU = ENGINES["reference"], ENGINES["cpu"]
MEMORY = 2**28
CONV, RELU, FLATTEN = {"type": "conv", "size": 3}, {"type": "relu"}, {"type": "flatten"}
MEAN, DENSE = {"type": "global_avg_pool"}, {"type": "dense"}

engines = pytest.mark.parametrize("engine", [REFERENCE, CPU], ids=lambda engine: engine.name)


def one_large(scale, shape=(4, 4, 2)):
    """Four items of which the third is large."""
    x = np.random.default_rng(0).normal(size=(4, *shape))
    x[2] *= scale
    return x


def evaluate(engine, spec, x, precision):
    """Variances by the engine, then the matrix."""
    variances = engine.variances(spec, x, precision, memory_bytes=MEMORY)
    items = Items(x, variances, np.arange(len(x)))
    return engine.evaluate(spec, items, items, precision, memory_bytes=MEMORY)


def power(kind, degree):
    return {"type": kind, **({"degree": degree} if kind == "monomial" else
            {"coefficients": [0.0] * degree + [1.0]})}  # fmt: skip


LARGE = {**CONV, "w_std": 1e8}
LARGER = {**CONV, "w_std": 1e140}
# Network, items, precision, layer and type to be named, remedy.
CASES = {
    "exp": ([CONV, {"type": "exp"}, MEAN], 100.0, "float64", "layers[1]", "exp", "scale"),
    "exp, float32": ([CONV, {"type": "exp"}, MEAN], 20.0, "float32", "layers[1]", "exp", "float64"),
    "monomial": (
        [CONV, power("monomial", 8), FLATTEN], 1e5, "float32", "layers[1]", "monomial", "float64"
    ),
    "polynomial": (
        [CONV, power("polynomial", 8), FLATTEN], 1e5, "mixed", "result", "result", "float64"
    ),
    "gaussian": (
        [CONV, {"type": "gaussian", "b": 0.01}, FLATTEN], 1e3, "float32", "layers[1]", "gaussian",
        "scale",
    ),
    "relu, float32": (
        [LARGE, RELU, LARGE, RELU, FLATTEN], 1e8, "float32", "layers[3]", "relu", "float64"
    ),
    "relu, float64": (
        [LARGER, RELU, LARGE, RELU, FLATTEN], 1e8, "float64", "layers[3]", "relu", "scale"
    ),
    "result": (
        [CONV, RELU, MEAN, {**DENSE, "w_std": 1e12}], 1e10, "mixed", "result", "result", "float64"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@engines
def test_overflow_names_layer_type_pair_and_remedy(engine, case, kernel):
    network, scale, precision, layer, kind, remedy = CASES[case]
    spec = spec_of(*network).model_copy(update={"kernel": kernel})
    if engine.refusal(spec, precision):
        assert kind == "gaussian"
        return
    with pytest.raises(NonFiniteKernelError) as caught:
        evaluate(engine, spec, one_large(scale), precision)
    assert caught.value.context["layer"] == layer
    assert caught.value.context["type"] == kind
    assert 2 in caught.value.context["pair"]
    assert f"in {precision}" in caught.value.message
    if layer != "result":
        assert f"{layer} ({kind})" in caught.value.message
    assert remedy in caught.value.message
    assert not caught.value.retryable


@pytest.mark.parametrize("case", CASES)
def test_compute_gram_raises_it(case):
    network, scale, precision, layer, _, remedy = CASES[case]
    with pytest.raises(NonFiniteKernelError, match=remedy) as caught:
        compute_gram(one_large(scale), kernel=spec_of(*network), precision=precision)
    assert caught.value.context["layer"] == layer


def test_what_overflows_before_the_first_pool_in_mixed_precision_is_named():
    spec = spec_of(LARGE, RELU, {**CONV, "w_std": 1e6}, {**CONV, "w_std": 1e-9}, MEAN)
    x = one_large(1e8)
    with pytest.raises(NonFiniteKernelError, match="use precision float64") as caught:
        evaluate(CPU, spec, x, "mixed")
    assert caught.value.context["layer"] == "layers[2]"
    assert 2 in caught.value.context["pair"]
    # The reference engine has float64 throughout, and what it stores is small enough.
    assert np.isfinite(evaluate(REFERENCE, spec, x, "mixed")["nngp"]).all()


@engines
def test_a_variance_that_overflows_is_named_with_its_item(engine):
    spec = spec_of(CONV, {"type": "exp"}, CONV, RELU, MEAN)
    with pytest.raises(NonFiniteKernelError, match=r"layers\[3\] \(relu\).* item 2") as caught:
        engine.variances(spec, one_large(100.0), "float64", memory_bytes=MEMORY)
    assert caught.value.context["pair"] == [2, 2]


@engines
def test_the_first_bad_pair_is_that_of_the_block(engine):
    spec = spec_of(CONV, {"type": "square"}, {"type": "square"}, FLATTEN)
    x = np.ones((5, 4, 4, 1))
    x[3] = 1e6
    items = Items(x, np.empty((5, 0)), np.arange(5))
    others = Items(x[[0, 3]], np.empty((2, 0)), np.array([0, 3]))
    with pytest.raises(NonFiniteKernelError, match="row 3 and column 1 of the block") as caught:
        engine.evaluate(spec, items, others, "float32", memory_bytes=MEMORY)
    assert caught.value.context == {"layer": "layers[2]", "type": "square", "pair": [3, 1]}


BOUNDED = ["sign", "step", "erf", "sigmoid_like", "sin", "cos", "rbf", "gabor"]


@pytest.mark.parametrize("kind", [*BOUNDED, "gaussian", "exp_normalized", "relu", "abs"])
@pytest.mark.parametrize("sign", [1, -1])
@engines
def test_sums_that_overflow_are_not_bounded_back_into_numbers(engine, kind, sign):
    """The sum over nine taps is infinite in float32, the variance, a mean, is not."""
    spec = spec_of(CONV, {"type": kind}, FLATTEN)
    x = np.full((1, 4, 4, 1), 1.2e19)
    rows, columns = (
        Items(each, engine.variances(spec, each, "float32", memory_bytes=MEMORY), key)
        for each, key in ((x, np.array([0])), (sign * 0.9 * x, np.array([1])))
    )
    with pytest.raises(NonFiniteKernelError, match="use precision float64"):
        engine.evaluate(spec, rows, columns, "float32", memory_bytes=MEMORY)


@pytest.mark.parametrize("precision", ["mixed", "float32"])
@pytest.mark.parametrize("layers", [[DENSE], [CONV, FLATTEN], [CONV, {"type": "step"}, MEAN]])
@engines
def test_items_beyond_float32_are_an_error_and_no_warning(engine, precision, layers):
    shape = (2,) if layers == [DENSE] else (3, 3, 1)
    x = np.random.default_rng(1).normal(size=(3, *shape)) * 1e30
    if precision == "mixed" and engine is REFERENCE and layers[-1] == MEAN:
        # It has float64 throughout, and a step gives small numbers.
        assert np.isfinite(evaluate(engine, spec_of(*layers), x, precision)["nngp"]).all()
        return
    with pytest.raises(NonFiniteKernelError, match="float64"):
        evaluate(engine, spec_of(*layers), x, precision)
    assert np.isfinite(evaluate(engine, spec_of(*layers), x, "float64")["nngp"]).all()
