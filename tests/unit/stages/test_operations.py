"""Operation counts: exact small cases, and what they must satisfy."""

import pytest
from hypothesis import given, settings
from random_networks import networks

from gramserve.kernels import ReferenceEngine
from gramserve.spec import parse_kernel
from gramserve.spec.layers import LAYER_TYPES
from gramserve.stages import count_operations, uses_variances
from gramserve.stages.activations import DUAL_OPERATIONS, dual_operations


def count(layers, shape, kernel="nngp"):
    return count_operations(parse_kernel({"layers": layers, "kernel": kernel}), shape)


def test_input_products_are_counted_by_channels_and_pairs_of_positions():
    cost = count([{"type": "global_avg_pool"}], (4, 5, 3))
    assert cost.input_operations == 2 * 3 * 20**2
    assert cost.operations == cost.input_operations + 20**2
    assert cost.largest_entries == 20**2


def test_a_convolution_adds_its_taps_axis_by_axis():
    end = [{"type": "flatten"}]
    three = count([{"type": "conv", "size": 3}, *end], (6, 6, 1)).operations
    five = count([{"type": "conv", "size": 5}, *end], (6, 6, 1)).operations
    assert five - three == 2 * 2 * 36**2  # two more taps along each of two axes, per entry


def test_the_tangent_kernel_costs_more_and_both_cost_what_it_costs():
    costs = {
        kernel if isinstance(kernel, str) else "both": count_operations(
            parse_kernel({"preset": "myrtle5", "kernel": kernel}), (8, 8, 3)
        ).operations
        for kernel in ("nngp", "ntk", ["nngp", "ntk"])
    }
    assert costs["nngp"] < costs["ntk"] == costs["both"] < 2 * costs["nngp"]


def test_every_layer_type_is_counted():
    required = {
        "conv": {"size": 3}, "conv_local": {"size": 3}, "abrelu": {"a": 1, "b": 2},
        "arc_cosine": {"order": 3}, "monomial": {"degree": 2}, "polynomial": {"coefficients": [1]},
        "hermite": {"degree": 2}, "power": {"degree": 2}, "numeric": {"function": "tanh"},
        "avg_pool": {"window": 2}, "sum_pool": {"window": 2},
        "ckn_pool": {"kind": "average", "subsampling": 2}, "layer_norm": {"axes": "all"},
        "residual": {"branches": [[], []]}, "concat": {"branches": [[], []]},
    }  # fmt: skip
    readouts = {"flatten", "global_avg_pool", "global_sum_pool"}
    for name in LAYER_TYPES:
        layer = {"type": name, **required.get(name, {})}
        if name == "dense":
            cost = count([layer], (5,))
        else:
            cost = count([layer] if name in readouts else [layer, {"type": "flatten"}], (4, 4, 2))
        assert (cost.operations > cost.input_operations + 16) or name in {
            "identity",
            "flatten",
            "dense",
        }
        assert cost.operations > cost.input_operations


@settings(deadline=None)
@given(networks())
def test_variances_are_those_the_reference_engine_keeps(network):
    spec, shape = network
    cost = count_operations(spec, shape)
    assert cost.variances == ReferenceEngine().variance_length(spec, shape)


@pytest.mark.parametrize("name", ["identity", "square", "linear", "conv", "dense", "flatten"])
def test_layers_of_the_covariance_alone_need_no_variances(name):
    required = {"conv": {"size": 3}}
    assert not uses_variances(LAYER_TYPES[name](**required.get(name, {})))


@pytest.mark.parametrize("on_planes", [True, False])
def test_duals_of_higher_degree_cost_more(on_planes):
    def cost(kind, **fields):
        layer = LAYER_TYPES[kind](**fields)
        assert type(layer) in DUAL_OPERATIONS
        return dual_operations(layer, on_planes=on_planes)

    degrees = [cost("monomial", degree=degree) for degree in (1, 3, 9)]
    assert degrees == sorted(set(degrees))
    assert cost("polynomial", coefficients=[0.0, 1.0]) == cost("monomial", degree=1) == degrees[0]
    assert cost("hermite", degree=9) == degrees[-1]
    orders = [cost("arc_cosine", order=order) for order in (0, 2, 5)]
    assert orders == sorted(orders)
    assert cost("arc_cosine", order=1) == cost("relu")


def test_on_planes_elementary_functions_cost_what_their_polynomials_do():
    for kind in ("erf", "gelu", "sin", "rbf", "gabor"):
        layer = LAYER_TYPES[kind]()
        assert dual_operations(layer, on_planes=True) > 2 * dual_operations(layer)
    layers = [{"type": "conv", "size": 3}, {"type": "erf"}, {"type": "flatten"}]
    planes = count(layers, (6, 6, 1)).planes
    assert planes.dual % dual_operations(LAYER_TYPES["erf"](), on_planes=True) == 0
