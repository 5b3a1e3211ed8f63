"""What a block task needs, measured, against what its plan promises."""

import tracemalloc

import numpy as np
import pytest
from gram_work import make_work, plan_of

from gramserve.blocks.task import BlockTask, VarianceTask
from gramserve.blocks.worker import _load, compute_blocks, compute_variances
from gramserve.kernels.cpu.warm import compile_dtype

CONV, RELU, EXP = {"type": "conv", "size": 3}, {"type": "relu"}, {"type": "exp_normalized"}
GAUSSIAN = {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}
POOL = {"type": "avg_pool", "window": 2}
BOTH = ["nngp", "ntk"]
KERNELS = {
    "myrtle5": ({"preset": "myrtle5", "kernel": BOTH}, (16, 16, 3)),
    "ckn": ({"layers": [CONV, EXP, GAUSSIAN, CONV, EXP, {"type": "flatten"}]}, (13, 12, 1)),
    "flatten": ({"preset": "cntk", "depth": 6, "gap": False}, (20, 20, 3)),
    "fc": ({"preset": "fc", "depth": 3, "kernel": BOTH}, (64,)),
    "circular": (
        {"layers": [{**CONV, "padding": "circular"}, RELU, {"type": "global_avg_pool"}]},
        (9, 9, 2),
    ),
    "dihedral": ({"preset": "myrtle5", "augment": "dihedral", "kernel": BOTH}, (12, 12, 2)),
    "lopsided": (
        {"layers": [{**CONV, "size": 2}, RELU, {"type": "flatten"}], "augment": "flips"},
        (8, 8, 1),
    ),
    "readouts": ({"preset": "cntk", "depth": 5, "readouts": True, "kernel": BOTH}, (12, 12, 2)),
    "readouts of vectors": ({"preset": "fc", "depth": 4, "readouts": True}, (64,)),
    "tanh": (
        {
            "layers": [
                CONV,
                {"type": "numeric", "function": "tanh"},
                POOL,
                CONV,
                {"type": "numeric", "function": "silu", "degree": 20},
                {"type": "global_avg_pool"},
            ],
            "kernel": BOTH,
        },
        (10, 10, 2),
    ),
    "branches": (
        {
            "layers": [
                {"type": "residual", "branches": [[CONV, POOL], [POOL, {"type": "erf"}]]},
                RELU,
                {"type": "global_avg_pool"},
            ],
            "kernel": BOTH,
        },
        (12, 12, 2),
    ),
    "local": (
        {
            "layers": [CONV, {"type": "conv_local", "size": 3}, RELU, POOL, {"type": "flatten"}],
            "kernel": BOTH,
        },
        (10, 10, 2),
    ),
    "normalised": (
        {
            "layers": [
                {**CONV, "size": 5},
                {"type": "layer_norm", "axes": "all"},
                {"type": "gelu"},
                {"type": "layer_norm", "axes": "channels"},
                {"type": "global_avg_pool"},
            ],
            "kernel": BOTH,
        },
        (10, 10, 3),
    ),
    "series": (
        {
            "layers": [
                CONV,
                {"type": "polynomial", "coefficients": [0.1] * 6},
                POOL,
                CONV,
                {"type": "gabor"},
                {"type": "flatten"},
            ],
            "kernel": BOTH,
        },
        (10, 10, 2),
    ),
    "weighted": (
        {
            "input": {"channel_variances": [1.0, 0.5, 2.0], "bias_variance": 0.3},
            "layers": [CONV, RELU, {"type": "global_avg_pool"}],
        },
        (8, 8, 3),
    ),
    "weighted vectors": (
        {
            "input": {"channel_variances": 0.5, "bias_variance": 0.3},
            "layers": [{"type": "dense"}, {"type": "sin"}, {"type": "dense"}],
            "kernel": BOTH,
        },
        (200,),
    ),
    "all channels": (
        {"input": {"channels": "all"}, "layers": [CONV, RELU, {"type": "global_avg_pool"}]},
        (8, 8, 3),
    ),
    "numeric, centred": (
        {
            "layers": [
                CONV,
                {"type": "center"},
                {"type": "numeric", "function": "tanh", "degree": 40},
                {"type": "flatten"},
            ],
            "kernel": BOTH,
        },
        (8, 8, 2),
    ),
}
REFERENCE = {"numeric, centred"}
"""What the reference engine runs."""


def peak_bytes(run):
    """Memory that is allocated at once while something runs."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compiling is not part of a task."""
    for dtype in ("float32", "float64"):
        compile_dtype(dtype)


@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
@pytest.mark.parametrize("precision", ["float32", "mixed", "float64"])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("diagonal", [True, False])
def test_a_block_task_keeps_to_its_plan(tmp_path, name, precision, diagonal):
    kernel, shape = KERNELS[name]
    x = np.random.default_rng(0).normal(size=(80, *shape))
    work = make_work(tmp_path, x, kernel=kernel, block_size=40, precision=precision)
    promised = plan_of(
        work.recipe.spec, x, None, block_size=40, precision=precision
    ).cost.peak_worker_bytes
    assert work.recipe.engine == ("reference" if name in REFERENCE else "cpu")
    place = work.places[0]
    if place.variance_key is not None:
        missing = tuple(segment for _, segment in work.missing_variances())
        variances = VarianceTask(work.recipe, place, 0, missing)
        _load.cache_clear()
        used = peak_bytes(lambda: compute_variances(variances))
        assert used <= promised
    _load.cache_clear()
    block = (0, 0) if diagonal else (0, 1)
    task = BlockTask(work.recipe, place, place, work.grid, work.grams, (block,))
    results = []
    used = peak_bytes(lambda: results.extend(compute_blocks(task)))
    assert [result.failure for result in results] == [None]
    # Not a promise so large that it means nothing, either.
    assert promised / 20 <= used <= promised


def test_vectors_of_grey_bytes_are_not_made_for_whole_panels(tmp_path):
    """A constant next to one channel of bytes: sixteen times the items' size in float64."""
    kernel = {"input": {"bias_variance": 0.3}, "layers": [CONV, {"type": "flatten"}]}
    x = np.random.default_rng(0).integers(0, 255, size=(600, 24, 24, 1)).astype(np.uint8)
    work = make_work(tmp_path, x, kernel=kernel, block_size=300)
    spec = work.recipe.spec
    promised = plan_of(spec, x, None, block_size=300, precision="float32").cost.peak_worker_bytes
    place = work.places[0]
    _load.cache_clear()
    task = BlockTask(work.recipe, place, place, work.grid, work.grams, ((0, 1),))
    results = []
    used = peak_bytes(lambda: results.extend(compute_blocks(task)))
    assert [result.failure for result in results] == [None]
    # What was made for both panels at once would be more than the promise.
    assert used <= promised / 2
