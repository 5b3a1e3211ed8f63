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
}


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
    assert work.recipe.engine == "cpu"
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
