"""The reference engine: its promises about memory, variances, refusals and overflow."""

import tracemalloc

import numpy as np
import pytest

from gramserve.errors import EngineUnavailableError, MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels import Items, ReferenceEngine, choose_engine, describe_engines
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


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("budget", [2_000_000, 8_000_000])
@pytest.mark.parametrize("shape", [(8, 8, 3), (14, 14, 1)])
def test_temporaries_stay_within_the_budget(precision, budget, shape):
    residual = {
        "kernel": ["nngp", "ntk"],
        "layers": [
            {"type": "conv", "size": 3},
            {"type": "residual", "branches": [[{"type": "relu"}, {"type": "conv", "size": 3}], []]},
            {"type": "relu"},
            {"type": "global_avg_pool"},
        ],
    }
    for spec in (MYRTLE, parse_kernel(residual)):
        if ENGINE.pair_bytes(spec, shape, precision) > budget:
            continue
        items = make_items(images(12, shape=shape), spec, precision)
        tracemalloc.start()
        try:
            ENGINE.evaluate(spec, items, items, precision, memory_bytes=budget)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < budget + 2**20  # a megabyte for the interpreter's own


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


@pytest.mark.parametrize(
    ("layer", "name"),
    [({"type": "gelu"}, r"layers\[1\] \(gelu\)"), ({"type": "arc_cosine", "order": 3}, "order 3")],
)
def test_layers_without_an_engine_are_refused_by_name(layer, name):
    spec = parse_kernel({"layers": [{"type": "dense"}, layer]})
    with pytest.raises(EngineUnavailableError, match=name):
        choose_engine(spec, "float32")


def test_refusals_reach_into_branches():
    branch = {"type": "residual", "branches": [[{"type": "gelu"}], []]}
    spec = parse_kernel({"layers": [{"type": "dense"}, branch]})
    with pytest.raises(EngineUnavailableError, match=r"layers\[1\]\.branches\[0\]\[0\] \(gelu\)"):
        choose_engine(spec, "float32", "reference")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("cpu", "not part of this version"),
        ("cuda", "not part of"),
        ("referense", "did you mean 'reference'"),
    ],
)
def test_engines_that_are_not_there_say_what_to_use(wanted, words):
    with pytest.raises(EngineUnavailableError, match=words):
        choose_engine(MYRTLE, "float32", wanted)


def test_every_engine_is_described():
    described = {entry["name"]: entry for entry in describe_engines()}
    assert described["reference"]["available"] is True
    assert described["cuda"]["available"] is False
    assert all(entry["why"] for entry in described.values())
