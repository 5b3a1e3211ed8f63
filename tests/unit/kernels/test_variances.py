"""Where variances are needed, what they cost, and what happens when one is not finite."""

import tracemalloc

import numpy as np
import pytest

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels import ReferenceEngine
from gramserve.kernels.variances import split_for_variances, variance_places
from gramserve.spec import parse_kernel

ENGINE = ReferenceEngine()
CONV, RELU, POOL = {"type": "conv", "size": 3}, {"type": "relu"}, {"type": "avg_pool", "window": 2}
GAP, FLATTEN, DENSE = {"type": "global_avg_pool"}, {"type": "flatten"}, {"type": "dense"}


def network(*layers):
    return parse_kernel({"layers": list(layers)}).layers


@pytest.mark.parametrize(
    ("layers", "dense", "diagonal"),
    [
        ((CONV, RELU, CONV, RELU, FLATTEN), 0, 4),
        ((CONV, RELU, GAP), 0, 2),  # nothing behind the pool needs a variance
        ((CONV, RELU, GAP, RELU), 3, 1),
        ((CONV, RELU, POOL, CONV, RELU, FLATTEN, DENSE), 3, 2),
        ((CONV, FLATTEN, DENSE), 0, 0),
        (({"type": "residual", "branches": [[RELU, CONV], []]}, FLATTEN), 0, 1),
        (({"type": "residual", "branches": [[POOL, RELU], [POOL]]}, RELU, FLATTEN), 1, 1),
        ((CONV, {"type": "square"}, GAP), 0, 0),
    ],
)
def test_whole_states_are_held_up_to_the_last_pool_that_matters(layers, dense, diagonal):
    layers = network(*layers)
    first, second = split_for_variances(layers)
    assert (len(first), len(second)) == (dense, diagonal)
    assert (*first, *second) == layers[: dense + diagonal]


def test_places_name_layers_inside_branches_in_order():
    layers = network(
        CONV, RELU, {"type": "residual", "branches": [[POOL, RELU], [POOL, CONV, RELU]]}, GAP, RELU
    )
    found = [(place.layer, place.positions) for place in variance_places(layers, (4, 6))]
    assert found == [
        ("layers[1]", (4, 6)),
        ("layers[2].branches[0][1]", (2, 3)),
        ("layers[2].branches[1][2]", (2, 3)),
        ("layers[4]", ()),
    ]


def test_they_are_the_squared_lengths_at_the_first_layer():
    spec = parse_kernel({"input": {"channels": "mean"}, "layers": [RELU, FLATTEN, DENSE, RELU]})
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    found = ENGINE.variances(spec, x, "float64", memory_bytes=2**28)
    squares = (x**2).mean(axis=-1)
    assert np.allclose(found[:, :8], squares.reshape(3, 8), rtol=1e-14)
    assert np.allclose(found[:, 8], (squares / 2).mean(axis=(1, 2)), rtol=1e-14)


def test_a_network_without_pools_never_holds_a_whole_state():
    spec = parse_kernel({"preset": "cntk", "depth": 4, "gap": False})
    x = np.random.default_rng(0).normal(size=(4, 24, 24, 1))
    ENGINE.variances(spec, x[:1], "float64", memory_bytes=2**28)
    tracemalloc.start()
    try:
        ENGINE.variances(spec, x, "float64", memory_bytes=2**28)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24**4 * 8  # one state of one pair


@pytest.mark.parametrize(
    ("scale", "precision", "layer", "remedy"),
    [
        (1e20, "float32", r"layers\[1\] \(relu\)", "use precision float64"),
        (1e200, "float64", r"layers\[1\] \(relu\)", "scale the items down"),
    ],
)
def test_variances_that_overflow_name_the_layer_and_the_item(scale, precision, layer, remedy):
    x = np.ones((3, 2))
    x[1:] = scale
    spec = parse_kernel({"layers": [DENSE, RELU, DENSE]})
    with pytest.raises(NonFiniteKernelError, match=f"{layer} .* item 1, .*{remedy}") as caught:
        ENGINE.variances(spec, x, precision, memory_bytes=2**20)
    assert caught.value.context == {"layer": "layers[1]", "type": "relu", "pair": [1, 1]}


def test_networks_without_variances_have_none():
    spec = parse_kernel({"layers": [DENSE]})
    assert ENGINE.variances(spec, np.ones((3, 2)), "float32", memory_bytes=2**20).shape == (3, 0)
