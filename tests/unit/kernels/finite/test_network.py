"""Whole networks against automatic differentiation of a second implementation."""

import autograd_network
import numpy as np
import pytest

import gramserve as gs
from gramserve.kernels.finite.network import draw_network
from gramserve.kernels.finite.parameters import draw_parameters
from gramserve.spec import parse_kernel
from gramserve.stages import lay_out

CONV = {"type": "conv", "size": 3, "w_std": 1.3, "b_std": 0.4}
RELU, ERF = {"type": "relu"}, {"type": "erf"}
GAP, DENSE = {"type": "global_avg_pool"}, {"type": "dense", "w_std": 1.2, "b_std": 0.3}
FIXED = {**CONV, "trainable": False}

NETWORKS = {
    "dense": (4, [DENSE, {"type": "numeric", "function": "tanh"}, DENSE, ERF, DENSE]),
    "no dense at the end": (4, [DENSE, RELU, DENSE, ERF]),
    "nothing but a dense layer": (4, [DENSE]),
    "conv and gap": ((4, 5, 2), [CONV, RELU, CONV, ERF, GAP, DENSE]),
    "gap at the end": ((4, 4, 2), [CONV, {"type": "relu", "normalized": True}, GAP]),
    "flatten and dense": ((3, 4, 2), [CONV, RELU, {"type": "flatten"}, DENSE]),
    "flatten at the end": ((3, 3, 2), [CONV, ERF, CONV, {"type": "flatten", "average": False}]),
    "circular and strided": (
        (5, 4, 2),
        [
            {**CONV, "padding": "circular", "strides": [2, 1]},
            RELU,
            {
                **CONV, "padding": [[2, 0], [1, 3]], "fill": [2, 1], "dilation": [1, 2],
                "average": False,
            },
            ERF,
            GAP,
            DENSE,
        ],
    ),
    "weights that are not shared": (
        (4, 3, 2),
        [
            {**CONV, "type": "conv_local", "strides": [1, 2]},
            ERF,
            {**CONV, "type": "conv_local", "padding": "circular"},
            {"type": "flatten"},
        ],
    ),
    "pools": (
        (6, 6, 2),
        [
            CONV,
            {"type": "avg_pool", "window": 2, "strides": 1, "padding": "same"},
            RELU,
            {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2},
            CONV,
            ERF,
            {"type": "sum_pool", "window": 2, "normalize_edges": True},
            {"type": "linear", "factor": 0.7},
            {"type": "global_sum_pool"},
            DENSE,
        ],
    ),
    "residual": (
        (4, 4, 2),
        [
            CONV,
            {"type": "residual", "branches": [[RELU, CONV, ERF, CONV], []]},
            {"type": "residual", "branches": [[FIXED], [RELU, CONV], [{"type": "identity"}]]},
            RELU,
            GAP,
            DENSE,
        ],
    ),
    "concat": (
        (4, 4, 2),
        [
            {"type": "concat", "branches": [[], [CONV, RELU], [CONV]]},
            CONV,
            {
                "type": "concat",
                "branches": [[ERF], [{"type": "residual", "branches": [[CONV], []]}]],
            },
            GAP,
        ],
    ),
    "layer norm": (
        (4, 3, 2),
        [CONV, {"type": "layer_norm", "axes": "channels"}, RELU, CONV,
         {"type": "layer_norm", "axes": "all", "eps": 0.1}, {"type": "sin"}, GAP, DENSE],
    ),
    "some layers are not trained": ((4, 4, 2), [FIXED, RELU, CONV, ERF, FIXED, GAP]),
    "no layer is trained": ((4, 4, 2), [FIXED, RELU, GAP]),
    "a sequence": (
        (7, 2), [{"type": "conv", "size": 3, "strides": 2, "b_std": 1}, RELU, GAP, DENSE],
    ),
}  # fmt: skip


def build(name, *, parameterization="ntk", channels="sum", outputs=2, width=3):
    shape, network = NETWORKS[name]
    shape = (shape,) if isinstance(shape, int) else shape
    layout = "sequence" if len(shape) == 2 else "auto"
    spec = parse_kernel(
        {
            "layers": network,
            "input": {"channels": channels, "layout": layout},
            "kernel": ["nngp", "ntk"],
            "finite": {"width": width, "samples": 2, "seed": 5, "outputs": outputs,
                       "parameterization": parameterization},
        }
    )  # fmt: skip
    return spec, np.random.default_rng(3).standard_normal((4, *shape))


def parameters_of(spec, item_shape, sample):
    """What autograd is given: N(0, 1) numbers, or those with their factors in them."""
    layout, found, trained = lay_out(spec, item_shape), {}, []
    for node in layout.all_nodes():
        if node.weight_count:
            drawn = draw_parameters(node, spec.finite.seed, sample, np.dtype(float))
            weights, biases = drawn.weights, drawn.biases
            if spec.finite.parameterization == "standard":
                share = 1 / node.taps if getattr(node.layer, "average", False) else 1
                weights = weights * node.layer.w_std * np.sqrt(share / node.before.divisor)
                biases = None if biases is None else biases * node.layer.b_std
            found[node.path] = (weights, biases)
            if node.layer.trainable:
                trained.append(node.path)
    return layout, found, trained


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_tangent_kernels_agree_with_autograd(name, parameterization):
    channels = "mean" if name in ("pools", "concat") else "sum"
    spec, x = build(name, parameterization=parameterization, channels=channels)
    expected = np.zeros((4, 4))
    for sample in range(2):
        layout, parameters, trained = parameters_of(spec, x.shape[1:], sample)
        network = draw_network(layout, sample, np.dtype(float), 2**20)
        outputs, jacobian = autograd_network.jacobians(spec, x, parameters, trained)
        np.testing.assert_allclose(network.outputs(x), outputs, rtol=1e-11, atol=1e-12)
        assert jacobian.shape[:2] == outputs.shape
        expected += np.einsum("nrp,mrp->nm", jacobian, jacobian) / layout.outputs / 2
    gram = gs.compute_gram(x, kernel=spec, precision="float64")
    scale = max(np.abs(expected).max(), 1e-300)
    np.testing.assert_allclose(gram["ntk"] / scale, expected / scale, rtol=1e-10, atol=1e-12)
    assert (trained == []) == (scale == 1e-300)


@pytest.mark.parametrize(
    "name", ["dense", "conv and gap", "no dense at the end", "flatten at the end"]
)
def test_the_nngp_is_the_product_of_features_and_exact_over_a_final_dense_layer(name):
    spec, x = build(name)
    expected = np.zeros((4, 4))
    for sample in range(2):
        layout = lay_out(spec, x.shape[1:])
        features = draw_network(layout, sample, np.dtype(float), 2**20).features(x)
        product = features @ features.T / layout.features.divisor
        if NETWORKS[name][1][-1] is DENSE:
            product = 1.2**2 * product + 0.3**2
        expected += product / 2
    gram = gs.compute_gram(x, kernel=spec, precision="float64")
    np.testing.assert_allclose(gram["nngp"], expected, rtol=1e-12)


def test_outputs_of_a_dense_layer_have_a_tangent_kernel_each():
    """One output is the first of several: the mean over all differs, by the last weights alone."""
    one, x = build("dense", outputs=1)
    many, _ = build("dense", outputs=50)
    first, mean = (gs.compute_gram(x, kernel=spec, precision="float64") for spec in (one, many))
    np.testing.assert_array_equal(first["nngp"], mean["nngp"])
    assert not np.allclose(first["ntk"], mean["ntk"], rtol=0.01)
