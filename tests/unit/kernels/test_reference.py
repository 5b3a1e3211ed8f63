"""The reference engine: its promises about memory, variances, refusals and overflow."""

import tracemalloc

import numpy as np
import pytest

from gramserve.errors import MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels import Items, ReferenceEngine
from gramserve.spec import parse_kernel
from gramserve.stages import count_operations

ENGINE = ReferenceEngine()
MYRTLE = parse_kernel({"preset": "myrtle5", "kernel": ["nngp", "ntk"]})
BIG = 2**30


def make_items(values, spec=MYRTLE, precision="float64", keys=None):
    keys = np.arange(len(values)) if keys is None else keys
    return Items(values, ENGINE.variances(spec, values, precision, memory_bytes=BIG), keys)


def images(count, seed=0, shape=(8, 8, 3)):
    return np.random.default_rng(seed).normal(size=(count, *shape))


@pytest.mark.parametrize(
    ("preset", "shape"),
    [("myrtle5", (8, 8, 3)), ("myrtle10_exp", (12, 9, 1)), ("fc", (7,)), ("cntk", (4, 4, 2))],
)
def test_variance_length_is_what_the_plan_counts(preset, shape):
    spec = parse_kernel(preset)
    values = images(2, shape=shape)
    length = ENGINE.variance_length(spec, shape)
    assert ENGINE.variances(spec, values, "float64", memory_bytes=BIG).shape == (2, length)
    assert count_operations(spec, shape).variances == length


def test_variances_are_positive_and_of_the_precision():
    values = images(3)
    single = ENGINE.variances(MYRTLE, values, "float32", memory_bytes=BIG)
    double = ENGINE.variances(MYRTLE, values, "float64", memory_bytes=BIG)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert (double > 0).all()
    assert np.array_equal(single, double.astype(np.float32))


def images_network(*middle):
    conv = {"type": "conv", "size": 3}
    layers = [conv, *middle, conv, {"type": "avg_pool", "window": 2}, {"type": "flatten"}]
    return {"kernel": ["nngp", "ntk"], "layers": layers}


def residual(*branches):
    return {"type": "residual", "branches": [*branches, []]}


RELU = {"type": "relu"}
GAUSSIAN_POOL = {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}
NETWORKS = {
    "myrtle5": {"preset": "myrtle5", "kernel": ["nngp", "ntk"]},
    "requ": images_network({"type": "arc_cosine", "order": 2}, GAUSSIAN_POOL),
    "erf": images_network({"type": "erf"}),
    "abs": images_network({"type": "abs"}, {"type": "avg_pool", "window": 3, "padding": "same"}),
    "exp": images_network({"type": "exp_normalized", "project": True}),
    "circular": images_network({"type": "conv", "size": 3, "padding": "circular"}, RELU),
    "residual": images_network(residual([RELU, {"type": "conv", "size": 3}])),
    "gelu": images_network({"type": "gelu"}),
    "gabor": images_network({"type": "gabor"}),
    "gaussian": images_network({"type": "gaussian"}),
    "sin": images_network({"type": "sin", "c": 0.3}),
    "polynomial": images_network({"type": "polynomial", "coefficients": [0.5, 1, -0.2, 0.1]}),
    "requ3": images_network({"type": "arc_cosine", "order": 3}),
    "tanh": images_network({"type": "numeric", "function": "tanh", "degree": 150}),
    "local": images_network({"type": "conv_local", "size": 3}, RELU),
    "normalised": images_network({"type": "layer_norm", "axes": "all"}, {"type": "center"}, RELU),
    "weighted": images_network(RELU) | {
        "input": {"channel_variances": [0.5, 2.0], "bias_variance": 0.3}
    },
    "all channels": images_network(RELU) | {"input": {"channels": "all"}},
    "nested": images_network(residual([residual([{"type": "erf"}], [RELU])])),
}  # fmt: skip


def peak_bytes(spec, items, others, precision, budget):
    tracemalloc.start()
    try:
        ENGINE.evaluate(spec, items, others, precision, memory_bytes=budget)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("pairs", [1.0, 2.5])
@pytest.mark.parametrize("network", NETWORKS)
def test_temporaries_stay_within_the_budget(network, pairs, precision):
    spec, shape = parse_kernel(NETWORKS[network]), (16, 16, 2)
    budget = int(pairs * ENGINE.temporary_bytes(spec, shape, precision))
    items = make_items(images(4, shape=shape), spec, precision)
    others = make_items(images(3, 1, shape=shape), spec, precision, keys=np.array([2, 90, 91]))
    assert peak_bytes(spec, items, others, precision, budget) <= budget


@pytest.mark.parametrize("budget", [2**20, 2**24])
def test_vectors_stay_within_the_budget_besides_the_result(budget):
    spec = parse_kernel({"preset": "fc", "kernel": ["nngp", "ntk"]})
    items = make_items(images(400, shape=(784,)).astype(np.float32), spec, "float32")
    others = make_items(images(300, 1, shape=(784,)).astype(np.float32), spec, "float32")
    result = 2 * 400 * 300 * 4
    assert peak_bytes(spec, items, others, "float32", budget) <= budget + result


def test_a_pair_that_does_not_fit_is_refused_with_both_numbers():
    items = make_items(images(2))
    with pytest.raises(MemoryBudgetError, match=r"needs 0\.\d MiB .* 0\.0 MiB are allowed"):
        ENGINE.evaluate(MYRTLE, items, items, "float64", memory_bytes=1000)


def test_equal_keys_not_equal_objects_decide_what_is_the_same_item():
    values = images(2).astype(np.float32)
    items = make_items(values, precision="float32", keys=np.array([b"a", b"b"]))
    twin = make_items(values.copy(), precision="float32", keys=np.array([b"b", b"a"]))
    swapped = ENGINE.evaluate(MYRTLE, items, twin, "float32", memory_bytes=BIG)
    straight = ENGINE.evaluate(MYRTLE, items, items, "float32", memory_bytes=BIG)
    assert straight["ntk"].shape == swapped["ntk"].shape == (2, 2)
    # Keys claim that item 0 equals twin 1, which is not so: the claim shows in the numbers.
    assert abs(swapped["ntk"][0, 1] - straight["ntk"][0, 1]) > 1e-3 * straight["ntk"][0, 1]


def test_overflow_names_the_layer_and_the_first_bad_pair():
    layers = [{"type": "dense"}, {"type": "square"}, {"type": "square"}, {"type": "square"}]
    spec = parse_kernel({"layers": layers})
    values = np.ones((3, 2), np.float32)
    values[1] = 1e8
    items = make_items(values, spec, "float32")
    with pytest.raises(NonFiniteKernelError, match=r"layers\[2\] \(square\)") as caught:
        ENGINE.evaluate(spec, items, items, "float32", memory_bytes=BIG)
    assert caught.value.context["layer"] == "layers[2]"
    assert caught.value.context["type"] == "square"
    assert caught.value.context["pair"] == [1, 1]
    assert "float64" in str(caught.value)
    assert np.isfinite(
        ENGINE.evaluate(spec, items, items, "float64", memory_bytes=BIG)["nngp"]
    ).all()


def test_a_result_too_large_for_float32_is_an_error_in_mixed_precision():
    spec = parse_kernel({"layers": [{"type": "dense"}, {"type": "square"}]})
    values = np.full((1, 1), 1e12)
    items = make_items(values, spec, "mixed")
    with pytest.raises(NonFiniteKernelError, match="float32"):
        ENGINE.evaluate(spec, items, items, "mixed", memory_bytes=BIG)


@pytest.mark.parametrize("budget", [600_000, 2_000_000, BIG])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_equal_keys_on_both_sides_give_an_exactly_symmetric_block(precision, budget):
    items = make_items(images(7), precision=precision)
    shuffled = make_items(images(7), precision=precision, keys=np.arange(7)[::-1] + 100)
    mirrored = ENGINE.evaluate(MYRTLE, items, items, precision, memory_bytes=budget)
    computed = ENGINE.evaluate(MYRTLE, items, shuffled, precision, memory_bytes=budget)
    for name, gram in mirrored.items():
        assert np.array_equal(gram, gram.T)
        off = ~np.eye(7, dtype=bool)
        error = np.abs(gram - computed[name])[off].max() / np.abs(gram).max()
        assert error < (1e-5 if precision == "float32" else 1e-12)


def test_the_same_items_in_another_order_are_not_mirrored():
    values = images(4)
    items = make_items(values)
    turned = make_items(values[::-1], keys=np.arange(4)[::-1])
    straight = ENGINE.evaluate(MYRTLE, items, items, "float64", memory_bytes=BIG)
    found = ENGINE.evaluate(MYRTLE, items, turned, "float64", memory_bytes=BIG)
    for name, gram in straight.items():
        assert np.allclose(found[name], gram[:, ::-1], rtol=1e-13)


def test_inputs_are_left_alone():
    values = images(3)
    items = make_items(values.copy())
    variances = items.variances.copy()
    ENGINE.evaluate(MYRTLE, items, items, "float64", memory_bytes=BIG)
    assert np.array_equal(items.values, values)
    assert np.array_equal(items.variances, variances)


def test_a_network_in_which_nothing_trains_has_no_tangent_kernel():
    spec = parse_kernel(
        {"kernel": ["nngp", "ntk"], "layers": [{"type": "dense", "trainable": False}]}
    )
    items = make_items(np.eye(2), spec)
    found = ENGINE.evaluate(spec, items, items, "float64", memory_bytes=BIG)
    assert found["ntk"].tolist() == [[0, 0], [0, 0]]
    assert found["nngp"].tolist() == [[1, 0], [0, 1]]


def test_a_covariance_that_overflows_is_reported_when_only_the_ntk_is_asked_for():
    layers = [{"type": "dense"}, {"type": "square"}, {"type": "square"}]
    spec = parse_kernel({"kernel": "ntk", "layers": layers})
    values = np.full((2, 1), 1e5, np.float32)  # S = 1e40, T = 4e30
    items = make_items(values, spec, "float32")
    with pytest.raises(NonFiniteKernelError, match=r"layers\[2\] \(square\)"):
        ENGINE.evaluate(spec, items, items, "float32", memory_bytes=BIG)


def test_equal_keys_of_two_dtypes_are_two_items():
    spec = parse_kernel({"preset": "fc", "kernel": ["nngp", "ntk"]})
    signed = make_items(np.array([[-1, 1]], np.int8), spec, keys=np.array([b"same bytes"]))
    unsigned = make_items(np.array([[255, 1]], np.uint8), spec, keys=np.array([b"same bytes"]))
    other = make_items(np.array([[255, 1]], np.uint8), spec, keys=np.array([b"others"]))
    found = ENGINE.evaluate(spec, signed, unsigned, "float64", memory_bytes=BIG)
    wanted = ENGINE.evaluate(spec, signed, other, "float64", memory_bytes=BIG)
    assert all(np.array_equal(found[name], wanted[name]) for name in spec.kernels)
