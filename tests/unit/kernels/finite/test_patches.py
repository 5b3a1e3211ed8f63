"""Cross-correlations and their pullbacks against the explicit Jacobian, made entry by entry."""

import itertools

import naive
import numpy as np
import pytest

from gramserve.kernels.finite.affine import affine_unit
from gramserve.kernels.finite.jacobians import LayerRecord, layer_jacobian
from gramserve.kernels.finite.parameters import LayerParameters
from gramserve.kernels.finite.patches import conv_windows, fold, unfold
from gramserve.kernels.taps import Window
from gramserve.spec import parse_kernel
from gramserve.stages import lay_out


def reads(layer, positions):
    """Yield (output, tap, input) places, every one a tuple of indices, by definition."""
    data = layer.model_dump()
    geometry = naive.conv_geometry(data, positions)
    outputs = itertools.product(*(range(count) for _, count in geometry))
    for output in outputs:
        for tap in itertools.product(*(range(size) for size in data["size"])):
            place = []
            for axis, length in enumerate(positions):
                index = naive.conv_index(data, axis, output[axis], tap[axis], geometry[axis][0])
                if data["padding"] == "circular":
                    index %= length
                place.append(index)
            if all(i is not None and 0 <= i < n for i, n in zip(place, positions, strict=True)):
                yield output, tap, tuple(place)


def jacobian_by_input(layer, filters, positions, outputs):
    """Row flat(*output, c'), column flat(*input, c): the filter entry that joins them."""
    channels, after = filters.shape[-2:]
    result = np.zeros((*outputs, after, *positions, channels))
    for output, tap, place in reads(layer, positions):
        flat = np.ravel_multi_index(tap, layer.size)
        where = filters[np.ravel_multi_index(output, outputs)] if filters.ndim == 4 else filters
        for c, d in itertools.product(range(channels), range(after)):
            result[(*output, d, *place, c)] += where[flat, c, d]
    return result.reshape(np.prod(outputs) * after, -1)


def jacobian_by_filter(layer, units, outputs, after, *, is_local):
    """Row flat(*output, c'), column flat([output,] tap, c, c'): the input that is read there."""
    positions, channels = units.shape[:-1], units.shape[-1]
    count, taps = np.prod(outputs), np.prod(layer.size)
    copies = (count,) if is_local else ()
    result = np.zeros((*outputs, after, *copies, taps, channels, after))
    for output, tap, place in reads(layer, positions):
        flat = np.ravel_multi_index(tap, layer.size)
        copy = (np.ravel_multi_index(output, outputs),) if is_local else ()
        for c, d in itertools.product(range(channels), range(after)):
            result[(*output, d, *copy, flat, c, d)] += units[(*place, c)]
    return result.reshape(count * after, -1)


def random_conv(rng, axes, *, is_plain=False):
    """Return a random convolution (plain: shared, not circular) and its node for some input."""
    while True:
        layer = {
            "type": "conv" if is_plain else rng.choice(["conv", "conv_local"]).item(),
            "size": rng.integers(1, 4, axes),
            "strides": rng.integers(1, 4, axes),
            "dilation": rng.integers(1, 4, axes),
            "fill": rng.integers(1, 4, axes),
            "padding": rng.integers(0, 4, (axes, 2)).tolist(),
        }
        kind = rng.integers(4)
        if kind == 0:
            layer |= {"padding": "same"}
        if kind == 1 and not is_plain:
            layer |= {"padding": "circular", "fill": 1}
        positions = tuple(int(n) for n in rng.integers(1, 6, axes))
        parts = {"input": {"layout": "sequence"}} if axes == 1 else {}
        layers = [layer, {"type": "flatten"}]
        spec = parse_kernel({"layers": layers, "finite": {"width": 2}, **parts})
        try:
            return spec.layers[0], lay_out(spec, (*positions, 3)).nodes[0]
        except ValueError:  # the filter is larger than the input
            continue


@pytest.mark.parametrize("seed", range(60))
def test_both_pullbacks_are_the_transposed_jacobians(seed):
    rng = np.random.default_rng(seed)
    layer, node = random_conv(rng, axes=1 + seed % 2)
    positions, outputs = node.before.positions, node.after.positions
    is_local = layer.type == "conv_local"
    copies = (int(np.prod(outputs)),) if is_local else ()
    filters = rng.standard_normal((*copies, node.taps, 3, 2))
    unit = affine_unit(node, LayerParameters(filters, None), 2**20)
    units = rng.standard_normal((4, *positions, 3))
    vectors = rng.standard_normal((4, 2, *outputs, 2))

    by_input = jacobian_by_input(layer, filters, positions, outputs)
    results = unit.forward(units).reshape(4, -1)
    np.testing.assert_allclose(results, unit.scale * units.reshape(4, -1) @ by_input.T, atol=1e-12)
    pulled = unit.pull(vectors, None).reshape(4, 2, -1)
    expected = unit.scale * vectors.reshape(4, 2, -1) @ by_input
    np.testing.assert_allclose(pulled, expected, atol=1e-12)

    into_filter = layer_jacobian(unit, LayerRecord(units, vectors)).reshape(4, 2, -1)
    for item in range(4):
        by_filter = jacobian_by_filter(layer, units[item], outputs, 2, is_local=is_local)
        expected = vectors[item].reshape(2, -1) @ by_filter
        np.testing.assert_allclose(into_filter[item], expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_fold_is_the_transpose_of_unfold(seed):
    rng = np.random.default_rng(seed)
    layer, node = random_conv(rng, axes=1 + seed % 2)
    windows = conv_windows(layer, node.before.positions)
    units = rng.standard_normal((2, *node.before.positions, 3))
    patches = unfold(units, windows)
    assert patches.shape == (2, np.prod(node.after.positions), node.taps, 3)
    others = rng.standard_normal(patches.shape)
    back = fold(others, windows, node.before.positions)
    assert np.vdot(patches, others) == pytest.approx(np.vdot(units, back), rel=1e-12)
    for tap in range(node.taps):
        part = unfold(units, windows, slice(tap, tap + 1))
        np.testing.assert_array_equal(part[:, :, 0], patches[:, :, tap])


def test_items_go_through_in_batches_of_any_size():
    spec = parse_kernel({"layers": [{"type": "conv", "size": 3, "b_std": 1}, {"type": "flatten"}],
                         "finite": {"width": 4}})  # fmt: skip
    node = lay_out(spec, (5, 6, 2)).nodes[0]
    rng = np.random.default_rng(0)
    parameters = LayerParameters(rng.standard_normal((9, 2, 4)), rng.standard_normal(4))
    units = rng.standard_normal((7, 5, 6, 2))
    results = [affine_unit(node, parameters, work).forward(units) for work in (0, 20_000, 2**30)]
    np.testing.assert_allclose(results[0], results[2], rtol=1e-13)
    np.testing.assert_allclose(results[1], results[2], rtol=1e-13)


@pytest.mark.parametrize("seed", range(30))
def test_the_pullback_into_the_input_is_a_convolution_with_stride_and_fill_exchanged(seed):
    """Padding ``d (K - 1) - l``, flipped taps, channels exchanged; the far padding is implied."""
    rng = np.random.default_rng(seed)
    layer, node = random_conv(rng, axes=1 + seed % 2, is_plain=True)
    positions = node.before.positions
    filters = rng.standard_normal((node.taps, 3, 2))
    vectors = rng.standard_normal((4, *node.after.positions, 2))
    backwards = tuple(
        Window(
            size=window.size,
            outputs=positions[axis],
            stride=window.fill,
            low=window.dilation * (window.size - 1) - window.low,
            dilation=window.dilation,
            fill=window.stride,
        )
        for axis, window in enumerate(conv_windows(layer, positions))
    )
    patches = unfold(vectors, backwards)
    expected = np.einsum("bptd,tcd->bpc", patches, filters[::-1])
    unit = affine_unit(node, LayerParameters(filters, None), 2**20)
    pulled = unit.pull(vectors[:, None], None)[:, 0] / unit.scale
    np.testing.assert_allclose(pulled.reshape(expected.shape), expected, atol=1e-12)
