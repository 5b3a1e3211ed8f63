"""Finite networks tend to the kernels of infinite width as one over the root of the width."""

import numpy as np
import pytest

import gramserve as gs

WIDTHS = (8, 32, 128)
# Enough networks that the error's own scatter does not blur the slope.
SAMPLES = 24

RELU = {"type": "relu", "normalized": True}
ERF = {"type": "erf"}
CONV = {"type": "conv", "size": 3, "b_std": 0.2}


def fully_connected(activation):
    return {"layers": [{"type": "dense", "b_std": 0.3}, activation,
                       {"type": "dense", "w_std": 1.3, "b_std": 0.3}, activation,
                       {"type": "dense", "w_std": 1.5, "b_std": 0.1}]}  # fmt: skip


def convolutional(activation):
    pool = {"type": "avg_pool", "window": 2}
    return {
        "layers": [CONV, activation, pool, {**CONV, "w_std": 1.4}, activation,
                   {"type": "global_avg_pool"}, {"type": "dense"}],
        "input": {"channels": "mean"},
    }  # fmt: skip


def flattened(activation):
    conv = {"type": "conv", "size": 3, "strides": 2, "average": False, "padding": "circular"}
    return {"layers": [conv, activation, {**CONV, "w_std": 0.7}, activation, {"type": "flatten"}]}


NETWORKS = {
    "fully connected relu": (fully_connected(RELU), (5,)),
    "fully connected erf": (fully_connected(ERF), (5,)),
    "convolutional relu": (convolutional(RELU), (4, 4, 3)),
    "convolutional erf": (convolutional(ERF), (4, 4, 3)),
    "flatten relu": (flattened(RELU), (5, 4, 2)),
}


def errors(kernel, x, **finite):
    """Mean squared relative error of single networks at every width, per kernel."""
    both = {**kernel, "kernel": ["nngp", "ntk"]}
    exact = gs.compute_gram(x, kernel=both, precision="float64")
    found = {"nngp": [], "ntk": []}
    for width in WIDTHS:
        squares = {"nngp": 0.0, "ntk": 0.0}
        for seed in range(SAMPLES):
            options = {"width": width, "seed": seed, "samples": 1, "outputs": 4, **finite}
            gram = gs.compute_gram(x, kernel={**both, "finite": options}, precision="float64")
            for name, matrix in gram.items():
                squares[name] += np.sum((matrix - exact[name]) ** 2) / np.sum(exact[name] ** 2)
        for name, total in squares.items():
            found[name].append(np.sqrt(total / SAMPLES))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_errors_fall_as_one_over_the_root_of_the_width(name):
    kernel, shape = NETWORKS[name]
    x = np.random.default_rng(0).standard_normal((5, *shape))
    for which, found in errors(kernel, x).items():
        slope = np.polyfit(np.log(WIDTHS), np.log(found), 1)[0]
        assert -0.65 < slope < -0.35, (which, found)
        assert found[-1] < 0.3, (which, found)


MEANS = {
    "concat of branches of different width": [
        {"type": "concat", "branches": [[], [CONV, RELU]]}, CONV, RELU,
        {"type": "global_avg_pool"}, {"type": "dense", "w_std": 1.5},
    ],
    "residual": [
        CONV, {"type": "residual", "branches": [[RELU, CONV], []]}, RELU, {"type": "flatten"},
        {"type": "dense", "b_std": 0.5},
    ],
    "unusual conv, pools, fixed layers": [
        {**CONV, "fill": 2, "dilation": [2, 1], "padding": [[1, 2], [0, 1]], "trainable": False},
        {"type": "linear", "factor": 2}, RELU,
        {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}, CONV, ERF,
        {"type": "sum_pool", "window": 2, "padding": "same"}, {"type": "global_sum_pool"},
        {"type": "dense", "trainable": False},
    ],
    "activations": [
        CONV, {"type": "abrelu", "a": -0.3, "b": 1.2}, CONV, {"type": "arc_cosine", "order": 2},
        {**CONV, "w_std": 0.8}, {"type": "abs"}, {"type": "global_avg_pool"}, {"type": "dense"},
    ],
    "step": [CONV, {"type": "arc_cosine", "order": 0, "normalized": True}, CONV, RELU,
             {"type": "global_avg_pool"}],
    "ckn": {"preset": "ckn", "ntk": True,
            "layers": [{"npatch": 3, "subsampling": 2, "kernel": "relu"}]},
    "cntk with fixed ends": {"preset": "cntk", "depth": 3, "fix": True},
}  # fmt: skip


@pytest.mark.parametrize("name", MEANS)
def test_means_over_wide_networks_are_the_kernels_of_the_same_spec(name):
    network = MEANS[name]
    kernel = network if isinstance(network, dict) else {"layers": network}
    kernel = {**kernel, "kernel": ["nngp", "ntk"]}
    x = np.random.default_rng(1).standard_normal((4, 5, 5, 2))
    exact = gs.compute_gram(x, kernel=kernel, precision="float64")
    finite = {"width": 192, "samples": 12, "outputs": 16, "seed": 2}
    gram = gs.compute_gram(x, kernel={**kernel, "finite": finite}, precision="float64")
    for which, matrix in gram.items():
        scale = np.abs(exact[which]).max()
        assert scale > 0
        np.testing.assert_allclose(matrix / scale, exact[which] / scale, atol=0.06)


def test_the_tangent_kernel_of_the_standard_parameterisation_grows_with_the_width():
    kernel, x = fully_connected(RELU) | {"kernel": ["nngp", "ntk"]}, np.eye(3)
    found = []
    for width in (64, 256):
        options = {"width": width, "samples": 4, "parameterization": "standard"}
        gram = gs.compute_gram(x, kernel={**kernel, "finite": options}, precision="float64")
        same = gs.compute_gram(
            x, kernel={**kernel, "finite": {**options, "parameterization": "ntk"}},
            precision="float64",
        )  # fmt: skip
        np.testing.assert_array_equal(gram["nngp"], same["nngp"])
        found.append(np.trace(gram["ntk"]))
    assert found[1] / found[0] == pytest.approx(4, rel=0.3)
