"""Networks that together take every step and every template, run on the CPU by the shim."""

import re
from importlib.resources import files

import numpy as np
import pytest
from shim_engine import MEMORY, difference, pair_items, shim_engine

from gramserve.kernels.cuda.program import lower_for
from gramserve.spec import parse_kernel

BOTH = ["nngp", "ntk"]
CONV = {"type": "conv", "size": 3, "b_std": 0.2}
RELU = {"type": "relu", "normalized": True}
HEAD = {**RELU, "project": True}
POOL = {"type": "avg_pool", "window": 2}
GAP, FLAT = {"type": "global_avg_pool"}, {"type": "flatten"}
DENSE = {"type": "dense", "w_std": 1.2, "b_std": 0.1}
ERF, NORM = {"type": "erf"}, {"type": "layer_norm", "axes": "all"}


def residual(*branches):
    return {"type": "residual", "branches": list(branches)}


# Name: layers, item shape, kernels, further parts of the spec.
NETWORKS = {
    "pools over whole images": (
        [CONV, RELU, CONV, RELU, POOL, CONV, RELU, POOL, CONV, RELU, GAP, HEAD], (8, 8, 3), BOTH,
    ),
    "pools under a flatten, several columns a lane": (
        [CONV, RELU, POOL, CONV, ERF, POOL, CONV, RELU, FLAT, DENSE], (12, 16, 2), ["nngp"],
    ),
    "windows of three, one column a lane": (
        [CONV, RELU, {"type": "sum_pool", "window": 3}, CONV, RELU, FLAT, HEAD], (9, 9, 1), BOTH,
    ),
    "windows of four": (
        [CONV, ERF, {"type": "avg_pool", "window": 4}, CONV, RELU, GAP], (8, 8, 1), ["ntk"],
    ),
    "no pool, and lanes left over": (
        [CONV, RELU, {"type": "conv", "size": [5, 4], "dilation": [1, 2]}, RELU, FLAT, DENSE],
        (7, 7, 5), BOTH,
    ),
    "pools that overlap, strides, no padding": (
        [CONV, RELU, {"type": "avg_pool", "window": 3, "strides": 2, "padding": "same",
                      "normalize_edges": True},
         {"type": "conv", "size": 3, "strides": 2}, RELU,
         {"type": "conv", "size": 2, "padding": "valid"}, ERF, GAP, DENSE],
        (9, 8, 3), BOTH,
    ),
    "patches of CKN": (
        [{"type": "conv", "size": 3, "average": False}, {"type": "exp_normalized", "gamma": 2.0},
         {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2},
         {"type": "conv", "size": 3}, {"type": "power", "degree": 3},
         {"type": "ckn_pool", "kind": "strided", "subsampling": 1}, {"type": "square"},
         {"type": "linear", "factor": 0.7}, {"type": "flatten", "average": False}],
        (8, 8, 1), BOTH,
    ),
    "wrapped and filled": (
        [{"type": "conv", "size": 3, "padding": "circular"}, RELU,
         {"type": "conv", "size": 3, "fill": 2, "padding": [[1, 1], [1, 1]]}, ERF, FLAT, DENSE],
        (4, 5, 2), BOTH,
    ),
    "forks in registers": (
        [CONV, residual([RELU, CONV], []), NORM,
         {"type": "concat", "branches": [[RELU, CONV], [ERF], [residual([RELU], [CONV])]]},
         RELU, GAP, DENSE],
        (6, 6, 2), BOTH,
    ),
    "branches that meet in a state": (
        [CONV, RELU, residual([{"type": "conv", "size": 3, "strides": 2}, RELU, CONV],
                              [{"type": "conv", "size": 1, "strides": 2}]),
         RELU, residual([POOL, CONV], [{"type": "conv", "size": 2, "strides": 2}]), GAP],
        (8, 8, 1), BOTH,
    ),
    "unshared weights": (
        [{"type": "conv_local", "size": 3, "b_std": 0.3}, RELU, CONV, RELU, GAP], (5, 6, 2), BOTH,
    ),
    "taller than registers": (
        [CONV, RELU, NORM, {"type": "conv_local", "size": 3}, HEAD, CONV, ERF, GAP, DENSE],
        (130, 2, 1), BOTH,
    ),
    "taller than registers, pooled": (
        [CONV, RELU, {"type": "avg_pool", "window": [10, 1]}, CONV, RELU, FLAT], (130, 1, 1), BOTH,
    ),
}  # fmt: skip
EXTRA = {
    "vectors": (
        {"layers": [DENSE, RELU, residual([DENSE, ERF], []), DENSE, NORM, DENSE],
         "kernel": BOTH, "input": {"bias_variance": 0.3}}, (6,),
    ),
    "a sequence": (
        {"layers": [{"type": "conv", "size": 3}, RELU, {"type": "avg_pool", "window": 2}, GAP],
         "kernel": BOTH, "input": {"layout": "sequence", "channels": "mean"}}, (10, 6),
    ),
    "readouts that branch off": (
        {"layers": [CONV, RELU, CONV, RELU, GAP, RELU, DENSE], "kernel": BOTH,
         "readouts": [{"name": "early", "after": 2, "layers": [FLAT, DENSE]},
                      {"name": "late", "after": 5, "layers": [DENSE, ERF]}]}, (6, 5, 3),
    ),
}  # fmt: skip
SPECS = {
    name: ({"layers": layers, "kernel": kernels}, shape)
    for name, (layers, shape, kernels) in NETWORKS.items()
} | EXTRA

TOLERANCES = {
    "float64": {"nngp": 1e-12, "ntk": 1e-10},
    "mixed": {"nngp": 2e-6, "ntk": 1e-5},
    "float32": {"nngp": 2e-6, "ntk": 1e-5},
}


@pytest.mark.parametrize("name", SPECS)
def test_float64_agrees_with_the_reference_engine(name):
    for output, error in difference(*SPECS[name], "float64").items():
        assert error <= TOLERANCES["float64"][output.rpartition(".")[2]], output


@pytest.mark.parametrize("precision", ["mixed", "float32"])
@pytest.mark.parametrize(
    "name",
    ["pools over whole images", "patches of CKN", "branches that meet in a state",
     "taller than registers, pooled", "vectors"],
)  # fmt: skip
def test_other_precisions_agree_to_theirs(name, precision):
    for output, error in difference(*SPECS[name], precision).items():
        assert error <= TOLERANCES[precision][output], output


def test_every_template_is_run():
    """What no network here instantiates would never have run anywhere."""
    emitted = []
    for description, shape in SPECS.values():
        for precision in ("float64", "mixed"):
            kernels = lower_for(parse_kernel(description), shape, precision)[1]
            emitted.append(kernels.source.partition("using namespace gramserve;")[2])
    text = "".join(emitted)
    sources = files("gramserve.kernels.cuda") / "sources"
    declared = {
        found
        for name in ("chain.cuh", "stage.cuh", "pool.cuh", "dense.cuh")
        for found in re.findall(
            r"^(?:struct (\w+)|__device__ __forceinline__ void (\w+)\()",
            (sources / name).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        for found in found
        if found
    }
    # Parts of others, which run whenever these do.
    inside = {
        "Constant", "Cursor", "Surroundings", "NumberSource", "Unit", "Windows", "write_windows",
        "DenseEntry", "Run", "ColumnRun", "take_everywhere",
    }  # fmt: skip
    assert declared - inside
    missing = {name for name in declared - inside if not re.search(rf"\b{name}\b", text)}
    assert not missing
    for window in (2, 3, 4):
        assert re.search(rf"pool_stage<Tiles, {window}, ", text)
    for columns in (1, 2, 4):
        assert re.search(rf"Shape<\w+, \d+, \d+, {columns}>", text)


def test_a_symmetric_block_is_symmetric_and_its_diagonal_exact():
    spec = parse_kernel({"layers": [CONV, RELU, CONV, RELU, FLAT], "kernel": BOTH})
    rows, _ = pair_items(spec, (6, 6, 2), rows=5)
    found = shim_engine().evaluate(spec, rows, rows, "float64", memory_bytes=MEMORY)
    for name, gram in found.items():
        np.testing.assert_array_equal(gram, gram.T, err_msg=name)
    apart = [
        shim_engine().evaluate(spec, rows[i : i + 1], rows[i : i + 1], "float64",
                               memory_bytes=MEMORY)["ntk"][0, 0]
        for i in range(5)
    ]  # fmt: skip
    np.testing.assert_array_equal(np.diag(found["ntk"]), apart)
