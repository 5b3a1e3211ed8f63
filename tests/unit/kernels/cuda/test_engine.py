"""The CUDA engine around its kernels: batches, memory, errors, reproducibility."""

import numpy as np
import pytest
from cuda_shim import ShimDevice
from shim_engine import MEMORY, pair_items, shim_engine

from gramserve.errors import DeviceMemoryError, NonFiniteKernelError
from gramserve.kernels import Items
from gramserve.kernels.cuda import CudaEngine
from gramserve.spec import parse_kernel

CONV, RELU = {"type": "conv", "size": 3}, {"type": "relu", "normalized": True}
SPEC = parse_kernel(
    {
        "layers": [CONV, RELU, {"type": "avg_pool", "window": 2}, CONV, RELU,
                   {"type": "global_avg_pool"}, RELU],
        "kernel": ["nngp", "ntk"],
    }
)  # fmt: skip
SHAPE = (6, 6, 2)
SMALL_MEMORY = 120_000


def evaluate(engine, spec, items, precision="float64"):
    return engine.evaluate(spec, *items, precision, memory_bytes=MEMORY)


@pytest.fixture(scope="module")
def exact():
    return evaluate(shim_engine(), SPEC, pair_items(SPEC, SHAPE, rows=5, columns=7))


def test_small_memory_takes_more_batches_and_the_same_values(exact):
    device = ShimDevice(memory_bytes=SMALL_MEMORY)
    found = evaluate(CudaEngine(device), SPEC, pair_items(SPEC, SHAPE, rows=5, columns=7))
    launches = [name for name, *_ in device.launches]
    assert launches.count(launches[0]) > 2
    assert device.memory.most_used <= SMALL_MEMORY
    for name, gram in exact.items():
        np.testing.assert_array_equal(found[name], gram)


def test_memory_that_another_process_takes_makes_batches_smaller(exact):
    class Crowded(ShimDevice):
        """Promises more than there is, as where another process allocates in between."""

        def free_bytes(self):
            return 40 * super().free_bytes()

    device = Crowded(memory_bytes=SMALL_MEMORY)
    found = evaluate(CudaEngine(device), SPEC, pair_items(SPEC, SHAPE, rows=5, columns=7))
    for name, gram in exact.items():
        np.testing.assert_array_equal(found[name], gram)


def test_memory_for_not_even_one_pair_is_an_error_that_may_be_retried():
    with pytest.raises(DeviceMemoryError, match="bytes") as caught:
        evaluate(CudaEngine(ShimDevice(memory_bytes=2_500)), SPEC, pair_items(SPEC, SHAPE))
    assert caught.value.retryable


def test_the_device_is_empty_afterwards():
    device = ShimDevice()
    engine = CudaEngine(device)
    evaluate(engine, SPEC, pair_items(SPEC, SHAPE))
    kept = device.memory.used
    evaluate(engine, SPEC, pair_items(SPEC, SHAPE))
    assert device.memory.used == kept < 10_000  # tables of the compiled network


def test_threads_in_another_order_change_no_bit(exact):
    backward = CudaEngine(ShimDevice(backward=True))
    found = evaluate(backward, SPEC, pair_items(SPEC, SHAPE, rows=5, columns=7))
    for name, gram in exact.items():
        np.testing.assert_array_equal(found[name], gram)


def test_other_weights_compile_nothing():
    device = ShimDevice()
    sources = []

    class Listening(ShimDevice):
        def compile(self, source):
            sources.append(source)
            return super().compile(source)

    device = Listening()
    engine = CudaEngine(device)
    for w_std in (1.0, 1.3):
        spec = parse_kernel({"layers": [{**CONV, "w_std": w_std}, RELU, {"type": "flatten"}]})
        items = pair_items(spec, (4, 4, 1))
        evaluate(engine, spec, items, "float32")
        evaluate(engine, spec, items, "float32")
    assert len(sources) == 2, "one module for each network, kept for its next block"
    assert sources[0] == sources[1]


def test_an_overflow_names_the_layer_and_the_first_bad_pair():
    spec = parse_kernel(
        {"layers": [CONV, {"type": "square"}, CONV, {"type": "square"}, {"type": "flatten"}]}
    )
    values = np.ones((3, 4, 4, 1))
    values[2] *= 1e8
    variances = np.zeros((3, shim_engine().variance_length(spec, (4, 4, 1))))
    items = Items(values, variances, np.arange(3))
    with pytest.raises(NonFiniteKernelError, match=r"layers\[3\] \(square\)") as caught:
        evaluate(shim_engine(), spec, (items, items), "float32")
    assert caught.value.context["pair"] == [2, 2]


def test_layers_it_does_not_run_are_refused_by_name():
    engine = shim_engine()
    numeric = [CONV, {"type": "numeric", "function": "tanh"}, {"type": "flatten"}]
    spec = parse_kernel({"layers": numeric})
    assert "layers[1] (numeric)" in engine.refusal(spec, "float32")
    readout = {"name": "other", "after": 1, "layers": [*numeric[1:]]}
    spec = parse_kernel({"layers": [CONV, RELU, {"type": "flatten"}], "readouts": [readout]})
    assert "readouts[0].layers[0] (numeric)" in engine.refusal(spec, "float32")
    assert engine.refusal(SPEC, "float32") is None


def test_more_numbers_than_constant_memory_holds_are_refused():
    layers = [CONV, {"type": "arc_cosine", "order": 20}]
    for count, is_refused in ((5, False), (40, True)):
        spec = parse_kernel({"layers": [*layers * count, {"type": "flatten"}]})
        refusal = shim_engine().refusal(spec, "float32")
        assert bool(refusal) is is_refused
    assert "constant memory" in refusal


def test_device_and_availability_are_told():
    assert shim_engine().missing() is None
    assert shim_engine().device
    engine = CudaEngine()
    if engine.missing():
        assert engine.device == "cuda"
        assert engine.refusal(SPEC, "float32") == engine.missing()
