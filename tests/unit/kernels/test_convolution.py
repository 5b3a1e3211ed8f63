"""Convolutions of covariances: the covariance of convolved fields, and their diagonals."""

import numpy as np
import pytest

from gramserve.kernels.convolution import convolve, patch_scale
from gramserve.spec import parse_kernel
from gramserve.spec.shapes import positions_of

LAYERS = [
    {"size": 3},
    {"size": [2, 3], "padding": "valid"},
    {"size": [3, 1], "padding": "circular", "strides": 2},
    {"size": 3, "padding": [[2, 0], [1, 3]], "strides": [1, 2]},
    {"size": [2, 2], "dilation": [2, 1]},
    {"size": 3, "fill": 2, "strides": [1, 3]},
]


def make_layer(fields):
    spec = parse_kernel({"layers": [{"type": "conv", **fields}, {"type": "flatten"}]})
    return spec.layers[0]


def filter_field(field, layer, weights):
    """One channel of the layer's output for one field: cross-correlation by its definition."""
    shape = field.shape
    after = positions_of(layer, shape)
    low = [0, 0]
    if layer.padding == "same" or layer.padding == "circular":
        for axis in range(2):
            filled = (shape[axis] - 1) * layer.fill[axis] + 1
            reach = layer.dilation[axis] * (layer.size[axis] - 1) + 1
            low[axis] = max((after[axis] - 1) * layer.strides[axis] + reach - filled, 0) // 2
    elif layer.padding != "valid":
        low = [pair[0] for pair in layer.padding]
    out = np.zeros(after)
    for place in np.ndindex(*after):
        for tap in np.ndindex(*layer.size):
            index = []
            for axis in range(2):
                at = (
                    layer.strides[axis] * place[axis] + layer.dilation[axis] * tap[axis] - low[axis]
                )
                at, rest = divmod(at, layer.fill[axis])
                if layer.padding == "circular":
                    at %= shape[axis]
                index.append(at if rest == 0 and 0 <= at < shape[axis] else None)
            if None not in index:
                out[place] += weights[tap] * field[tuple(index)]
    return out


@pytest.mark.parametrize("fields", LAYERS)
def test_it_is_the_covariance_of_filtered_fields(fields):
    """For independent weights of variance 1: the sum over taps of outer products."""
    layer = make_layer(fields)
    x, y = np.random.default_rng(0).normal(size=(2, 5, 4))
    wanted = 0
    for tap in np.ndindex(*layer.size):
        unit = np.zeros(layer.size)
        unit[tap] = 1
        wanted = wanted + np.multiply.outer(
            filter_field(x, layer, unit), filter_field(y, layer, unit)
        )
    found = convolve(np.multiply.outer(x, y), layer, (5, 4))
    assert np.allclose(found, wanted, atol=1e-13)


@pytest.mark.parametrize("fields", LAYERS)
def test_the_diagonal_needs_the_diagonal_only(fields):
    layer = make_layer(fields)
    state = np.random.default_rng(1).normal(size=(3, 5, 4, 5, 4))
    flat = np.einsum("bijij->bij", state)
    whole = np.einsum("bijij->bij", convolve(state, layer, (5, 4)))
    assert np.allclose(convolve(flat, layer, (5, 4), diagonal=True), whole, atol=1e-13)


def test_the_mean_counts_the_taps():
    assert patch_scale(make_layer({"size": [3, 2]})) == 1 / 6
    assert patch_scale(make_layer({"size": 3, "average": False})) == 1
