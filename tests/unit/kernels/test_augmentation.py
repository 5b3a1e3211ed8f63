"""Kernels averaged over groups, against all pairs of transformed images."""

import itertools

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.errors import ShapeError
from gramserve.kernels import choose_engine
from gramserve.kernels.augmentation import transformed
from gramserve.spec import infer_shapes, parse_kernel
from gramserve.stages import GROUP_SIZES, commutes_with_group, count_evaluations, count_operations

CONV, RELU = {"type": "conv", "size": 3}, {"type": "relu", "normalized": True}
GAP, FLATTEN = {"type": "global_avg_pool"}, {"type": "flatten"}
EVEN = {"type": "conv", "size": 2}
LAYERS = {
    "symmetric": [CONV, RELU, {"type": "avg_pool", "window": 2}, CONV, RELU, FLATTEN],
    "lopsided": [CONV, RELU, EVEN, RELU, FLATTEN],
    "circular": [{**CONV, "padding": "circular"}, RELU, CONV, {"type": "erf"}, GAP],
}


def network(name, group="flips", **changes):
    return {"layers": LAYERS[name], "augment": group, "kernel": ["nngp", "ntk"], **changes}


def images(count=3, shape=(6, 6, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def average(x, y, kernel, group, engine):
    pairs = list(itertools.product(transformed(x, group), transformed(y, group)))
    grams = [
        compute_gram(a, b, kernel={**kernel, "augment": "none"}, precision="float64", engine=engine)
        for a, b in pairs
    ]
    return {name: np.mean([gram[name] for gram in grams], axis=0) for name in grams[0]}


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("group", ["flips", "vertical_flips", "rotations", "dihedral"])
def test_it_is_the_mean_over_all_pairs_of_transforms(group, name, engine):
    x, y = images(2), images(2, seed=1)
    y[0] = x[0][:, ::-1]  # a flipped copy, and an image that is its own flip
    y[1] = y[1] + y[1][:, ::-1]
    kernel = network(name, group)
    wanted = average(x, y, kernel, group, engine)
    found = compute_gram(x, y, kernel=kernel, precision="float64", engine=engine)
    for which, gram in found.items():
        assert np.abs(gram - wanted[which]).max() < 1e-7 * np.abs(wanted[which]).max()


@pytest.mark.parametrize("group", ["flips", "dihedral"])
def test_transforming_the_images_changes_nothing(group):
    x = images(3)
    kernel = network("symmetric", group)
    straight = compute_gram(x, kernel=kernel, precision="float64")
    for turned in transformed(x, group):
        found = compute_gram(turned, x, kernel=kernel, precision="float64")
        for name, gram in straight.items():
            assert np.abs(found[name] - gram).max() < 1e-10 * np.abs(gram).max()


@pytest.mark.parametrize("precision", ["float32", "mixed", "float64"])
def test_gram_matrices_are_exactly_symmetric_and_of_the_precision(precision):
    x = images(5).astype(np.float32)
    exact = compute_gram(x, kernel=network("symmetric"), precision="float64", engine="reference")
    for name, gram in compute_gram(x, kernel=network("symmetric"), precision=precision).items():
        assert np.array_equal(gram, gram.T)
        assert np.linalg.eigvalsh(gram.astype(np.float64)).min() > -1e-5 * gram.max()
        assert np.abs(gram - exact[name]).max() < 5e-6 * exact[name].max()


def test_a_network_that_commutes_takes_one_side_only():
    for name, group, commutes in [
        ("symmetric", "flips", True),
        ("symmetric", "dihedral", True),
        ("lopsided", "flips", False),
        ("circular", "rotations", True),
    ]:
        spec = parse_kernel(network(name, group))
        assert commutes_with_group(spec, (6, 6, 2)) is commutes
        size = GROUP_SIZES[group]
        times = size if commutes else size**2
        assert count_evaluations(spec, (6, 6, 2)) == times
        plain = count_operations(parse_kernel(network(name, "none")), (6, 6, 2))
        whole = count_operations(spec, (6, 6, 2))
        assert whole.planes.operations == times * plain.planes.operations
        assert whole.variances == size * plain.variances
        engine, _ = choose_engine(spec, "float64")
        assert engine.variance_length(spec, (6, 6, 2)) == whole.variances


@pytest.mark.parametrize(
    ("layer", "shape", "axis_group", "commutes"),
    [
        ({**CONV, "strides": 2}, (7, 7, 1), "flips", True),
        ({**CONV, "strides": 2}, (8, 8, 1), "flips", False),
        ({"type": "avg_pool", "window": 2}, (6, 7, 1), "flips", False),
        ({"type": "avg_pool", "window": 2}, (6, 7, 1), "vertical_flips", True),
        ({"type": "conv", "size": [3, 1]}, (6, 6, 1), "flips", True),
        ({"type": "conv", "size": [3, 1]}, (6, 6, 1), "rotations", False),
        ({"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}, (8, 8, 1), "flips", False),
        ({"type": "ckn_pool", "kind": "average", "subsampling": 2}, (8, 8, 1), "flips", True),
        ({"type": "residual", "branches": [[EVEN], []]}, (6, 6, 1), "flips", False),
        ({**CONV, "padding": [[1, 1], [0, 2]]}, (6, 6, 1), "flips", False),
        ({**CONV, "fill": 2}, (5, 5, 1), "flips", True),
    ],
)
def test_whether_layers_commute_is_what_their_values_say(layer, shape, axis_group, commutes):
    """``k(g x, g x')`` is ``k(x, x')`` for random images exactly where it is said to be."""
    spec = parse_kernel({"layers": [layer, RELU, FLATTEN], "augment": axis_group})
    assert commutes_with_group(spec, shape) is commutes
    x, y = images(2, shape), images(2, shape, 1)
    plain = spec.model_copy(update={"augment": "none"})
    how = {"kernel": plain, "precision": "float64"}
    straight = compute_gram(x, y, **how)
    differences = [
        np.abs(compute_gram(a, b, **how) - straight).max()
        for a, b in zip(transformed(x, axis_group), transformed(y, axis_group), strict=True)
    ]
    assert bool(max(differences) < 1e-12) is commutes


@pytest.mark.parametrize(
    ("group", "shape", "words"),
    [
        ("flips", (4,), "vectors"),
        ("rotations", (4, 5, 1), r"square images.*\(4, 5\)"),
    ],
)
def test_items_that_a_group_does_not_act_on_are_refused(group, shape, words):
    layers = [{"type": "dense"}] if len(shape) == 1 else [CONV, GAP]
    spec = parse_kernel({"layers": layers, "augment": group})
    with pytest.raises(ShapeError, match=words):
        infer_shapes(spec, shape)


def test_sequences_flip_and_do_not_turn():
    layers = [{"type": "conv", "size": 3}, RELU, FLATTEN]
    kernel = {"layers": layers, "input": {"layout": "sequence"}, "augment": "flips"}
    x = images(3, (5, 2))
    found = compute_gram(x, kernel=kernel, precision="float64")
    plain = {**kernel, "augment": "none"}
    both = [compute_gram(x, y, kernel=plain, precision="float64") for y in (x, x[:, ::-1])]
    assert np.abs(found - np.mean(both, axis=0)).max() < 1e-12
    with pytest.raises(ShapeError, match="sequences have"):
        infer_shapes(parse_kernel({**kernel, "augment": "rotations"}), (5, 2))


def test_without_augmentation_a_digest_is_what_it_was():
    plain = parse_kernel({"layers": LAYERS["symmetric"]})
    assert "augment" not in plain.canonical()
    assert parse_kernel({"layers": LAYERS["symmetric"], "augment": "none"}) == plain
    assert (
        parse_kernel(network("symmetric")).digest()
        != parse_kernel(network("symmetric", "none")).digest()
    )


def test_finite_networks_are_averaged_over_both_sides():
    layers = [{"type": "conv", "size": 3}, {"type": "relu"}, GAP, {"type": "dense"}]
    kernel = {"layers": layers, "finite": {"width": 16, "samples": 2}, "kernel": "ntk"}
    x = images(3)
    found = compute_gram(x, kernel={**kernel, "augment": "flips"}, precision="float64")
    parts = [
        compute_gram(a, b, kernel=kernel, precision="float64")
        for a, b in itertools.product(transformed(x, "flips"), repeat=2)
    ]
    assert np.abs(found - np.mean(parts, axis=0)).max() < 1e-12 * found.max()
