"""The layout of finite networks and what they cost."""

import pytest

from gramserve.spec import parse_kernel
from gramserve.stages import count_finite, count_operations, jacobian_product, lay_out

CONV, RELU = {"type": "conv", "size": 3, "b_std": 1}, {"type": "relu"}
GAP, DENSE = {"type": "global_avg_pool"}, {"type": "dense"}


def network(layers, shape, *, kernel="ntk", channels="sum", **finite):
    spec = parse_kernel(
        {"layers": layers, "kernel": kernel, "input": {"channels": channels}, "finite": finite}
    )
    return lay_out(spec, shape)


def test_a_final_dense_layer_is_the_head_and_is_added_where_there_is_none():
    found = network([CONV, RELU, GAP, DENSE], (6, 5, 3), width=7, outputs=2)
    assert [node.after.channels for node in found.nodes] == [7, 7, 7]
    assert [node.after.positions for node in found.nodes] == [(6, 5), (6, 5), ()]
    assert found.head.path == (3,)
    assert found.head.is_trained
    assert found.head.after.channels == found.outputs == 2
    added = network([CONV, RELU, GAP], (6, 5, 3), width=7, outputs=2)
    assert added.nodes[-1].after == found.nodes[-1].after
    assert added.head.path == (3,)
    assert not added.head.is_trained
    assert added.head.layer.w_std == 1
    assert sum(node.weight_count for node in found.all_nodes()) == 9 * 3 * 7 + 7 + 14


def test_divisors_make_products_covariances():
    assert network([DENSE], (5,)).items.divisor == 1
    assert network([DENSE], (5,), channels="mean").items.divisor == 5
    flat = network([CONV, {"type": "flatten"}], (4, 3, 2), width=7).features
    assert (flat.channels, flat.divisor) == (84, 84)
    flat = network([CONV, {"type": "flatten", "average": False}], (4, 3, 2), width=7).features
    assert (flat.channels, flat.divisor) == (84, 7)
    concat = {"type": "concat", "branches": [[], [CONV]]}
    node = network([concat, GAP], (4, 3, 2), width=8, channels="mean").nodes[0]
    assert (node.after.channels, node.after.divisor) == (10, 16)
    assert node.factors == (2.0, 1.0)


def test_paths_and_places_reach_into_branches():
    residual = {"type": "residual", "branches": [[RELU, CONV], []]}
    found = network([CONV, residual, GAP], (4, 4, 2), width=3)
    places = {node.where: node.path for node in found.all_nodes()}
    assert places == {
        "layers[0]": (0,), "layers[1].branches[0][0]": (1, 0, 0),
        "layers[1].branches[0][1]": (1, 0, 1), "layers[1]": (1,), "layers[2]": (2,),
        "layers[3]": (3,),
    }  # fmt: skip
    assert found.nodes[1].has_trained
    assert not found.nodes[2].has_trained


def test_jacobians_are_multiplied_in_the_cheaper_way_that_fits():
    found = network([CONV, RELU, CONV, RELU, GAP, DENSE], (32, 32, 3), width=64)
    first, second = (
        jacobian_product(node, found.outputs) for node in found.nodes if node.weight_count
    )
    # A million pairs of positions against some thousand weights.
    assert not second.is_structured(64, 64, 2**40)
    assert not first.is_structured(64, 64, 2**40)
    hidden = network([DENSE, RELU, DENSE], (300,), width=64).nodes[0]
    assert jacobian_product(hidden, 1).is_structured(64, 64, 2**40)
    small = network([CONV, GAP, DENSE], (2, 2, 64), width=64).nodes[0]
    cost = jacobian_product(small, 1)
    assert cost.is_structured(64, 64, cost.structured_entries)
    assert not cost.is_structured(64, 64, cost.structured_entries - 1)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_costs_grow_as_the_work_does(kernel):
    def cost(**finite):
        body = {"preset": "cntk", "depth": 3, "kernel": kernel}
        spec = parse_kernel({**body, "finite": {"width": 16, "samples": 1, **finite}})
        return count_finite(spec, (8, 8, 3))

    one = cost()
    assert cost(samples=3).item_operations == 3 * one.item_operations
    assert cost(samples=3).pair_operations == 3 * one.pair_operations
    assert cost(samples=3).item_entries == one.item_entries
    wide = cost(width=32)
    assert 2 < wide.item_operations / one.item_operations < 4
    assert wide.parameters > 3 * one.parameters
    if kernel == "ntk":
        assert cost(outputs=4).item_operations > 2 * one.item_operations
        assert cost(outputs=4).item_entries > 1.5 * one.item_entries
    else:
        assert cost(outputs=4).item_entries == one.item_entries


def test_the_cost_of_a_pair_has_neither_planes_nor_variances():
    spec = parse_kernel({"preset": "cntk", "depth": 3, "finite": {"width": 16, "samples": 2}})
    pair, cost = count_operations(spec, (8, 8, 3)), count_finite(spec, (8, 8, 3))
    assert pair.operations == cost.pair_operations
    assert pair.item_operations == cost.item_operations > 100 * pair.operations
    assert pair.variances == pair.planes.operations == pair.input_operations == 0
