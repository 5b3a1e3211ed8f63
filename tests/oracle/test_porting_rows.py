"""Rows of the tables of docs/porting.md against numbers that the programs made.

``tests/data/porting.npz`` has the matrices of the networks below, in float64, by neural-tangents
0.6.5 (``stax`` layers of one width, ``kernel_fn(x, None, ("nngp", "ntk"))``) and by ckn_kernel's
``compute_kernel``, pair by pair.
"""

from math import ceil
from pathlib import Path

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.kernels import read_ckn_layers

with np.load(Path(__file__).parents[1] / "data" / "porting.npz") as _arrays:
    ARRAYS = dict(_arrays)

CONV = {"type": "conv", "size": 3}
BIASED = {**CONV, "b_std": 0.3}
RELU = {"type": "relu"}
DENSE = {"type": "dense"}
FIRST = {"type": "dense", "b_std": 0.1}
FLAT = [{"type": "flatten"}, DENSE]
POOLED = [{"type": "global_avg_pool"}, DENSE]
LOCAL = {"type": "conv_local", "size": 3, "w_std": 1.1, "b_std": 0.2}

IMAGES = {
    # SumPool((2, 2), (2, 2)), AvgPool((2, 2)), AvgPool((3, 3), (2, 2), "SAME", True), ...
    "sum_pool": [CONV, RELU, {"type": "sum_pool", "window": 2}, *FLAT],
    "avg_pool": [CONV, RELU, {"type": "avg_pool", "window": 2, "strides": 1}, *FLAT],
    "avg_pool_edges": [
        CONV, RELU,
        {"type": "avg_pool", "window": 3, "strides": 2, "padding": "same", "normalize_edges": True},
        *FLAT,
    ],
    "global_sum_pool": [CONV, RELU, {"type": "global_sum_pool"}, DENSE],
    "layer_norm_all": [BIASED, {"type": "layer_norm", "axes": "all"}, RELU, *POOLED],
    "layer_norm_channels": [BIASED, {"type": "layer_norm", "axes": "channels"}, RELU, *POOLED],
    "local": [CONV, RELU, LOCAL, RELU, *FLAT],
}  # fmt: skip

VECTORS = {
    "concat": [FIRST, {"type": "concat", "branches": [[DENSE, RELU], [DENSE]]}, DENSE],
    "residual": [FIRST, {"type": "residual", "branches": [[RELU, DENSE], []]}, RELU, DENSE],
    "rectified_0": [FIRST, {"type": "step"}, DENSE],
    "rectified_2": [FIRST, {"type": "arc_cosine", "order": 2}, DENSE],
    "rectified_3": [FIRST, {"type": "arc_cosine", "order": 3}, DENSE],
}

CKN = {
    "linear": [
        {"npatch": 3, "subsampling": 2, "kernel": "linear", "sigma": 0.7},
        {"npatch": 3, "subsampling": 1, "kernel": "exp", "sigma": 0.8, "pooling": "average"},
    ],
    "linear_default": [
        {"npatch": 3, "subsampling": 2, "kernel": "linear"},
        {"npatch": 3, "subsampling": 1, "pooling": "average"},
    ],
    "even": [
        {"npatch": 4, "subsampling": 2, "poolfactor": 3, "kernel": "poly2", "sigma": 3.0},
        {"npatch": 2, "subsampling": 1, "kernel": "square", "pooling": "average"},
    ],
    "poly4": [{"npatch": 3, "subsampling": 2, "kernel": "poly4", "pooling": "strided"}],
    "default_ntk": [
        {"npatch": 3, "subsampling": 2},
        {"npatch": 2, "subsampling": 2, "pooling": "average"},
    ],
}


def transpose_padding(padding, size, stride):
    """Return (low, high) as the page has it."""
    total = size + stride - 2
    if padding == "SAME":
        low = size - 1 if stride > size - 1 else ceil(total / 2)
    else:
        total += max(size - stride, 0)
        low = size - 1
    return [low, total - low]


def agree_with_tangents(name, items, layers):
    spec = {"input": {"channels": "mean"}, "layers": layers, "kernel": ["nngp", "ntk"]}
    grams = compute_gram(ARRAYS[items], kernel=spec, precision="float64", engine="reference")
    for kernel, gram in grams.items():
        wanted = ARRAYS[f"{name}_{kernel}"]
        # Rectified powers are not a number for an item with itself there, and angles are rounded.
        near = ~np.eye(len(wanted), dtype=bool)
        assert np.abs(gram - wanted)[near].max() < 1e-13 * np.abs(gram).max()
        assert not np.nanmax(np.abs(gram - wanted)) > 1e-8 * np.abs(gram).max()


@pytest.mark.parametrize("name", IMAGES)
def test_layers_on_images(name):
    agree_with_tangents(name, "images", IMAGES[name])


@pytest.mark.parametrize("name", VECTORS)
def test_layers_on_vectors(name):
    agree_with_tangents(name, "vectors", VECTORS[name])


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolutions(padding, size, stride):
    """``ConvTranspose(1, (size, size), (stride, stride), padding, W_std=1.3, b_std=0.2)``."""
    pair = transpose_padding(padding, size, stride)
    layer = {"type": "conv", "size": size, "fill": stride, "padding": [pair, pair]}
    layers = [{**layer, "w_std": 1.3, "b_std": 0.2}, RELU, *FLAT]
    agree_with_tangents(f"transpose_{padding}_{size}_{stride}", "images", layers)


@pytest.mark.parametrize("name", CKN)
def test_layers_of_ckn_kernel(name):
    spec = read_ckn_layers(CKN[name], ntk=name.endswith("ntk"))
    gram = compute_gram(ARRAYS["squares"], kernel=spec, precision="float64", engine="reference")
    wanted = ARRAYS[f"ckn_{name}"]
    # Its relu rounds the cosine of equal patches.
    assert np.abs(gram - wanted).max() < 1e-8 * np.abs(wanted).max()
