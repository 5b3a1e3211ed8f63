"""The reference engine with arrays of another library, as it runs on a card."""

import numpy as np
import pytest
from every_activation import ACTIVATIONS, NUMERIC
from strict_arrays import StrictDevice

from gramserve.arrays import OwnCard
from gramserve.errors import BlockError, DeviceMemoryError, NonFiniteKernelError
from gramserve.kernels import Items, ReferenceEngine, item_keys
from gramserve.spec import parse_kernel

HOST = ReferenceEngine()
CONV = {"type": "conv", "size": 3, "b_std": 0.3}
RELU = {"type": "relu", "normalized": True}
AVERAGE, FLATTEN = {"type": "global_avg_pool"}, {"type": "flatten"}

STRUCTURES = {
    "pools over edges": [
        CONV, RELU, {"type": "avg_pool", "window": 3, "padding": "same", "normalize_edges": True},
        CONV, RELU, FLATTEN,
    ],
    "pools of CKN": [CONV, RELU, {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}, CONV,
                     {"type": "exp_normalized", "gamma": 2.0}, AVERAGE],
    "circular": [{**CONV, "padding": "circular"}, RELU, CONV, RELU, FLATTEN],
    "filled": [{**CONV, "fill": 2}, RELU, {**CONV, "strides": 2}, RELU, FLATTEN],
    "own weights": [{"type": "conv_local", "size": 3}, RELU, CONV, RELU, AVERAGE],
    "branches": [CONV, {"type": "residual", "branches": [[RELU, CONV], []]}, RELU, FLATTEN],
    "concatenated": [CONV, {"type": "concat", "branches": [[RELU], [{"type": "abs"}]]}, AVERAGE],
    "centred": [CONV, {"type": "center"}, RELU, AVERAGE],
    "summed": [CONV, RELU, {"type": "global_sum_pool"}],
}  # fmt: skip


def engine_on(device):
    return ReferenceEngine(OwnCard(device))


def items(values, spec, engine, precision="float64"):
    variances = engine.variances(spec, values, precision, memory_bytes=2**30)
    return Items(values, variances, item_keys(values))


def grams(engine, spec, x, y, precision="float64"):
    sides = (items(each, spec, engine, precision) for each in (x, y))
    return engine.evaluate(spec, *sides, precision, memory_bytes=2**30)


def compare(layers, shape=(6, 6, 2), precision="float64"):
    spec = parse_kernel({"kernel": ["nngp", "ntk"], "layers": layers})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, *shape)), rng.normal(size=(4, *shape))
    y[1] = x[2]
    x[0] = 0
    device = StrictDevice()
    for other in (y, x):
        found = grams(engine_on(device), spec, x, other, precision)
        expected = grams(HOST, spec, x, other, precision)
        for name, values in expected.items():
            assert type(found[name]) is np.ndarray
            np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-14)
    assert device.uploads >= 8


LAYERS = ACTIVATIONS | {f"numeric {name}": layer for name, layer in NUMERIC.items()}


@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_every_activation_stays_on_the_device(name):
    layer = LAYERS[name]
    compare([CONV, layer, {"type": "avg_pool", "window": 2}, CONV, layer, FLATTEN])


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_stays_on_the_device(name):
    compare(STRUCTURES[name])


def test_vectors_and_single_precision():
    compare([{"type": "dense", "b_std": 0.1}, RELU, {"type": "dense"}], (5,))
    compare([CONV, RELU, AVERAGE], precision="mixed")


def test_readouts_and_their_items_stay_on_the_device():
    spec = parse_kernel(
        {
            "layers": [CONV, RELU, CONV, RELU, AVERAGE],
            "readouts": [{"name": "flat", "after": 2, "layers": [FLATTEN]}],
        }
    )
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 1))
    found, expected = (grams(each, spec, x, x) for each in (engine_on(StrictDevice()), HOST))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


def test_a_value_that_is_not_finite_is_traced_on_the_device():
    spec = parse_kernel({"layers": [{"type": "dense", "w_std": 1e30}, {"type": "dense"}]})
    x = np.ones((3, 2))
    errors = []
    for engine in (engine_on(StrictDevice()), HOST):
        with pytest.raises(NonFiniteKernelError) as caught:
            grams(engine, spec, x, 2 * x, "float32")
        errors.append(caught.value)
    assert errors[0].message == errors[1].message
    assert errors[0].context == errors[1].context


def test_little_memory_makes_small_batches_and_none_is_an_error_with_a_remedy():
    spec = parse_kernel({"layers": [CONV, RELU, AVERAGE]})
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1))
    needed = HOST.temporary_bytes(spec, x.shape[1:], "float64")
    plenty, little = StrictDevice(), StrictDevice(free=2 * needed)
    found = [grams(engine_on(device), spec, x, x)["nngp"] for device in (plenty, little)]
    np.testing.assert_allclose(*found, rtol=1e-12)
    assert little.uploads > plenty.uploads
    with pytest.raises(DeviceMemoryError, match=r"a stand-in has .* hide it"):
        grams(engine_on(StrictDevice(free=needed)), spec, x, x)


@pytest.mark.parametrize("failures", [1, 3])
def test_where_memory_runs_out_smaller_batches_are_tried(failures):
    spec = parse_kernel({"layers": [CONV, RELU, AVERAGE]})
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1))
    sides = [items(each, spec, HOST) for each in (x, x[:2])]
    engine = engine_on(StrictDevice(failures=failures))
    found = engine.evaluate(spec, *sides, "float64", memory_bytes=2**30)
    expected = HOST.evaluate(spec, *sides, "float64", memory_bytes=2**30)
    np.testing.assert_allclose(found["nngp"], expected["nngp"], rtol=1e-12)
    again = engine_on(StrictDevice(failures=failures)).variances(
        spec, x, "float64", memory_bytes=2**30
    )
    np.testing.assert_allclose(again, sides[0].variances, rtol=1e-12)


def test_a_device_without_memory_says_so():
    spec = parse_kernel({"layers": [CONV, RELU, AVERAGE]})
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    with pytest.raises(DeviceMemoryError, match="smaller batches") as caught:
        engine_on(StrictDevice(failures=100)).variances(spec, x, "float64", memory_bytes=2**30)
    assert isinstance(caught.value, BlockError)
    assert caught.value.retryable


def test_the_stand_in_refuses_arrays_of_the_host():
    device = StrictDevice()
    array = device.upload(np.ones(3), device.stream())
    with pytest.raises(TypeError, match="meets one of the device"):
        array + np.ones(3)
    with pytest.raises(TypeError):
        np.ones(3) + array
    with pytest.raises(TypeError, match="to_host"):
        np.asarray(array)


def test_the_device_is_told_for_provenance():
    assert (HOST.device, HOST.about) == ("cpu", "NumPy, dense")
    engine = engine_on(StrictDevice())
    assert (engine.device, engine.about) == ("a stand-in", "CuPy, dense")
