"""Several kernels of one network in one pass, against each by itself."""

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.errors import NonFiniteKernelError, ShapeError, SpecError
from gramserve.kernels import ENGINES, choose_engine
from gramserve.spec import infer_shapes, parse_kernel
from gramserve.stages import count_operations

CONV, RELU = {"type": "conv", "size": 3, "b_std": 0.1}, {"type": "relu"}
POOL, DENSE = {"type": "avg_pool", "window": 2}, {"type": "dense", "b_std": 0.2}
FLAT, GAP = [{"type": "flatten"}, DENSE, RELU], [{"type": "global_avg_pool"}, DENSE]
BRANCH = {"type": "residual", "branches": [[{"type": "erf"}, CONV], []]}
IMAGES = {
    "layers": [CONV, RELU, POOL, BRANCH, {"type": "layer_norm", "axes": "all"}, RELU, *GAP, RELU],
    "readouts": [
        {"name": "input", "after": 0, "layers": FLAT},
        {"name": "pooled", "after": 2, "layers": [POOL, *GAP]},
        {"name": "early", "after": 2, "layers": FLAT},
        {"name": "branch", "after": 4, "layers": FLAT},
        {"name": "normal", "after": 5, "layers": GAP},
        {"name": "untrained", "after": 7},
        {"name": "head", "after": 8, "layers": [{"type": "erf"}]},
    ],
    "kernel": ["nngp", "ntk"],
}
VECTORS = {
    "layers": [DENSE, RELU, {**DENSE, "trainable": False}, RELU, DENSE],
    "readouts": [
        {"name": "input", "after": 0, "layers": [RELU, DENSE]},
        {"name": "early", "after": 2, "layers": [DENSE]},
        {"name": "late", "after": 4, "layers": [{"type": "erf"}, DENSE]},
    ],
    "kernel": ["nngp", "ntk"],
}


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("precision", "limit"), [("float64", 1e-10), ("mixed", 1e-5), ("float32", 1e-5)]
)
@pytest.mark.parametrize(("kernel", "shape"), [(IMAGES, (6, 6, 2)), (VECTORS, (7,))])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_readout_is_its_own_network(kernel, shape, symmetric, engine, precision, limit):
    draw, spec = np.random.default_rng(0), parse_kernel(kernel)
    x = draw.normal(size=(19, *shape))
    y = None if symmetric else np.concatenate([x[3:4], draw.normal(size=(5, *shape))])
    found = compute_gram(x, y, kernel=kernel, precision=precision, engine=engine)
    assert tuple(found) == spec.outputs
    for name, gram in found.items():
        alone = spec.for_output(name)
        assert not alone.readouts
        wanted = compute_gram(x, y, kernel=alone, precision="float64", engine="reference")
        assert np.abs(gram - wanted).max() <= limit * np.abs(wanted).max()
        if symmetric:
            assert np.array_equal(gram, gram.T)


@pytest.mark.parametrize("kernel", [IMAGES, VECTORS])
def test_layers_that_are_shared_are_counted_once(kernel):
    spec = parse_kernel(kernel)
    shape = (6, 6, 2) if kernel is IMAGES else (7,)
    together = count_operations(spec, shape)
    apart = [count_operations(spec.for_output(name), shape) for name in spec.outputs[1::2]]
    assert together.planes.operations < 0.7 * sum(cost.planes.operations for cost in apart)
    engine, _ = choose_engine(spec, "float64")
    assert engine is ENGINES["cpu"]
    assert engine.variance_length(spec, shape) == together.variances


def test_readouts_go_together_with_augmentation():
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 2))
    spec = parse_kernel({**IMAGES, "augment": "flips"})
    found = compute_gram(x, kernel=spec, precision="float64")
    for name in spec.outputs:
        wanted = compute_gram(x, kernel=spec.for_output(name), precision="float64")
        assert np.abs(found[name] - wanted).max() <= 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("readouts", "words"),
    [
        ([{"name": "a", "after": 99, "layers": GAP}], r"readouts\[0\]\.after: 99 layers"),
        ([{"name": "ntk", "after": 2, "layers": GAP}], r"readouts\[0\]\.name: 'ntk' is taken"),
        ([{"name": "a", "after": 2, "layers": FLAT}] * 2, r"readouts\[1\]"),
        ([{"name": "a", "after": 6, "layers": [*GAP, RELU]}], "same kernel"),
        ([{"name": "A b", "after": 2, "layers": GAP}], "pattern"),
        ([{"name": "a", "after": 2, "layers": [{"type": "rleu"}]}], "did you mean 'relu'"),
    ],
)
def test_readouts_that_make_no_sense_are_refused(readouts, words):
    with pytest.raises(SpecError, match=words):
        parse_kernel({**IMAGES, "readouts": readouts})


def test_a_readout_that_leaves_positions_is_refused_by_its_place():
    spec = parse_kernel({**IMAGES, "readouts": [{"name": "a", "after": 2, "layers": [CONV]}]})
    with pytest.raises(ShapeError, match=r"readouts\[0\]\.layers\[0\]: the network ends"):
        infer_shapes(spec, (6, 6, 2))


def test_an_overflow_names_the_readout():
    steep = {"type": "exp", "b": 40.0}
    kernel = {**VECTORS, "readouts": [{"name": "a", "after": 1, "layers": [steep]}]}
    x = 9 * np.ones((2, 7))
    for engine in ("cpu", "reference"):
        with pytest.raises(NonFiniteKernelError, match=r"readouts\[0\]\.layers"):
            compute_gram(x, kernel=kernel, engine=engine)
