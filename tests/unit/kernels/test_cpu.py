"""The CPU engine: what it compiles, and what it says when a value is not finite."""

import platform
import re
import subprocess
import sys

import numpy as np
import pytest
from live_server import child_environment

from gramserve.errors import MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels import ENGINES, Items
from gramserve.kernels.cpu.evaluate import evaluate
from gramserve.spec import parse_kernel

CPU = ENGINES["cpu"]


def gram(kernel, x, precision="float32", memory_bytes=2**28):
    spec = parse_kernel(kernel)
    variances = CPU.variances(spec, x, precision, memory_bytes=2**28)
    items = Items(x, variances, np.arange(len(x)))
    return CPU.evaluate(spec, items, items, precision, memory_bytes=memory_bytes)


def test_a_new_network_compiles_nothing():
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1))
    for precision in ("float32", "float64"):
        gram("myrtle5", x, precision)
    compiled = len(evaluate.signatures)
    # Items against others in both dtypes, and against themselves for their variances.
    assert compiled == 3
    for precision in ("float32", "float64"):
        gram({"preset": "cntk", "depth": 4}, x[:, :5, :4], precision)
        pool = {"type": "ckn_pool", "kind": "gaussian", "subsampling": 1}
        layers = [pool, {"type": "abs"}, {"type": "flatten"}]
        gram({"layers": layers, "kernel": ["nngp", "ntk"]}, x, precision)
        branches = [[{"type": "erf"}], [{"type": "conv", "size": 3, "padding": "circular"}]]
        layers = [{"type": "residual", "branches": branches}, {"type": "flatten"}]
        gram({"layers": layers}, x, precision)
        gram({"preset": "fc", "depth": 2}, x.reshape(2, -1), precision)
        gram("myrtle5", x, "mixed")
    assert len(evaluate.signatures) == compiled


ASSEMBLY = """
import numpy as np
from gramserve import compute_gram
from gramserve.kernels.cpu.evaluate import evaluate
from gramserve.kernels.cpu.program import write_program
x = np.ones((2, 4, 4, 1))
# Pairs in float32, and variances, which are computed in float64.
compute_gram(x, kernel="myrtle5", precision="float32", engine="cpu")
for found in evaluate.overloads.values():
    print(found.library.get_asm_str())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of the instructions of x86-64")
def test_roots_are_taken_of_whole_vectors(tmp_path):
    # Numba does not show the assembly of what comes from its cache.
    environment = child_environment(NUMBA_CACHE_DIR=str(tmp_path))
    assembly = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], env=environment, capture_output=True, check=True
    ).stdout.decode()
    for root in ("sqrtps", "sqrtpd"):
        registers = set(re.findall(rf"v?{root}\s.*%([xyz]mm)", assembly))
        # Without AVX a vector is several registers of 16 bytes; never a single number.
        assert registers
        assert registers <= ({"ymm", "zmm"} if "ymm" in assembly else {"xmm"})


def test_planes_that_do_not_fit_are_left_to_the_reference_engine():
    # A pool of stride 1 keeps all planes of the first stage, in vectors of pairs.
    layers = [{"type": "avg_pool", "window": 2, "strides": 1}, {"type": "global_avg_pool"}]
    kernel = {"layers": [{"type": "conv", "size": 3}, *layers], "kernel": ["nngp", "ntk"]}
    x = np.random.default_rng(0).normal(size=(3, 9, 9, 1))
    spec = parse_kernel(kernel)
    dense = ENGINES["reference"].temporary_bytes(spec, x.shape[1:], "float64")
    assert dense < CPU.temporary_bytes(spec, x.shape[1:], "float64")
    tight = gram(kernel, x, "float64", memory_bytes=dense)
    for name, values in gram(kernel, x, "float64").items():
        np.testing.assert_allclose(tight[name], values, rtol=1e-12, atol=1e-14)
    with pytest.raises(MemoryBudgetError):
        gram(kernel, x, "float64", memory_bytes=dense - 1)


def test_values_that_overflow_are_blamed_on_layer_and_pair():
    layers = [
        {"type": "conv", "size": 3, "w_std": 1e10},
        {"type": "relu"},
        {"type": "global_sum_pool"},
        {"type": "dense", "w_std": 1e12},
    ]
    x = np.ones((3, 4, 4, 1), np.float32)
    with pytest.raises(NonFiniteKernelError) as caught:
        gram({"layers": layers}, x)
    assert caught.value.context["pair"] == [0, 0]
    assert "layers[" in caught.value.message or "result" in caught.value.context["layer"]
    gram({"layers": layers}, x, "float64")
