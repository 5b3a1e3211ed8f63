"""Pools of covariances: the covariance of pooled fields; readouts."""

import numpy as np
import pytest

from gramserve.kernels.pooling import ckn_matrix, pool, read_out
from gramserve.spec import layers, parse_kernel


def make_layer(fields):
    return parse_kernel({"layers": [fields, {"type": "flatten"}]}).layers[0]


def covariance(seed=0, shape=(6, 5)):
    x, y = np.random.default_rng(seed).normal(size=(2, *shape))
    return x, y, np.multiply.outer(x, y)


@pytest.mark.parametrize("kind", ["avg_pool", "sum_pool"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("normalize_edges", [False, True])
def test_window_pools_are_the_covariance_of_pooled_fields(kind, padding, normalize_edges):
    layer = make_layer(
        {"type": kind, "window": [3, 2], "strides": [2, 1], "padding": padding,
         "normalize_edges": normalize_edges}
    )  # fmt: skip
    x, y, state = covariance()

    def pooled(field):
        padded = np.pad(field, ((0, 1), (0, 1)), constant_values=np.nan)
        rows = range(0, 5 if padding == "same" else 4, 2)
        columns = range(5 if padding == "same" else 4)
        mean, total = (np.nanmean, np.nansum)
        out = np.empty((len(rows), len(columns)))
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                window = padded[top : top + 3, left : left + 2]
                if kind == "avg_pool":
                    out[i, j] = mean(window) if normalize_edges else total(window) / 6
                else:
                    out[i, j] = mean(window) * 6 if normalize_edges else total(window)
        return out

    found = pool(state, layer, (6, 5))
    assert np.allclose(found, np.multiply.outer(pooled(x), pooled(y)), atol=1e-13)


@pytest.mark.parametrize("kind", ["gaussian", "average", "strided"])
def test_ckn_pools_are_the_covariance_of_filtered_fields(kind):
    layer = make_layer({"type": "ckn_pool", "kind": kind, "subsampling": 2, "factor": 1})
    x, y, state = covariance()
    rows, columns = ckn_matrix(layer, 6), ckn_matrix(layer, 5)
    wanted = np.multiply.outer(rows @ x @ columns.T, rows @ y @ columns.T)
    assert np.allclose(pool(state, layer, (6, 5)), wanted, atol=1e-14)


def test_ckn_filters_are_those_of_the_definition():
    gaussian = ckn_matrix(layers.CknPool(kind="gaussian", subsampling=2, factor=2), 6)
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 4)
    weights /= weights.sum()
    assert gaussian.shape == (2, 6)
    assert np.allclose(gaussian[0], [*weights, 0])
    assert np.allclose(gaussian[1], [0, 0, *weights[:4]])  # cut at the edge, not renormalised
    average = ckn_matrix(layers.CknPool(kind="average", subsampling=2, factor=3), 5)
    assert np.allclose(average, [[1 / 3, 1 / 3, 1 / 3, 0, 0], [0, 0, 1 / 3, 1 / 3, 1 / 3]])
    strided = ckn_matrix(layers.CknPool(kind="strided", subsampling=2), 7)
    assert strided.tolist() == [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0]]


def test_readouts():
    x, y, state = covariance()
    at = (6, 5)
    assert read_out(state, layers.GlobalAvgPool(), at) == pytest.approx(x.mean() * y.mean())
    assert read_out(state, layers.GlobalSumPool(), at) == pytest.approx(x.sum() * y.sum())
    assert read_out(state, layers.Flatten(), at) == pytest.approx((x * y).mean())
    total = read_out(state, layers.Flatten(average=False), at)
    assert total == pytest.approx((x * y).sum())
    assert read_out(x * y, layers.Flatten(average=False), at, diagonal=True) == pytest.approx(total)


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
def test_states_keep_their_batch_axes_and_their_dtype(shape):
    spec = {"input": {"layout": "sequence" if len(shape) == 1 else "auto"},
            "layers": [{"type": "avg_pool", "window": 2}, {"type": "flatten"}]}  # fmt: skip
    layer = parse_kernel(spec).layers[0]
    state = np.ones((2, 3, *shape, *shape), np.float32)
    found = pool(state, layer, shape)
    half = tuple(length // 2 for length in shape)
    assert found.shape == (2, 3, *half, *half)
    assert found.dtype == np.float32
    assert np.allclose(found, 1)
