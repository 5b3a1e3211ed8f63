"""Positions after every layer, and stacks that are refused."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from gramserve.errors import ShapeError
from gramserve.spec import infer_shapes, input_positions, parse_kernel
from gramserve.spec.shapes import positions_of, resolve_padding


def positions(kernel, item_shape):
    return [shape.positions for shape in infer_shapes(parse_kernel(kernel), item_shape)]


def layers(*given, **more):
    return {"layers": list(given), **more}


def refused(kernel, item_shape):
    with pytest.raises(ShapeError) as caught:
        infer_shapes(parse_kernel(kernel), item_shape)
    return caught.value.errors[0]["loc"], str(caught.value)


def test_positions_of_a_preset():
    assert positions("myrtle5", (32, 32, 3)) == [
        *[(32, 32)] * 5, *[(16, 16)] * 3, *[(8, 8)] * 3, (), ()
    ]  # fmt: skip
    assert positions("fc", (784,)) == [()] * 8


@pytest.mark.parametrize("length", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_keeps_ceil_and_pads_the_far_end_more(length, size, stride):
    spec = parse_kernel(layers({"type": "conv", "size": size, "strides": stride}))
    layer = spec.layers[0]
    after = positions_of(layer, (length, length))
    assert after == (-(-length // stride),) * 2
    low, high = resolve_padding(layer, (length, length))[0]
    assert high - low in {0, 1}
    # The windows that fit the padded axis are as many as positions are kept.
    padded = length + low + high
    assert len(range(0, padded - size + 1, stride)) == after[0]


@pytest.mark.parametrize("padding", ["valid", [[2, 0], [0, 1]]])
@pytest.mark.parametrize("size", [[3, 2], [1, 4]])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("fill", [1, 2, 3])
@pytest.mark.parametrize("strides", [1, [2, 3]])
def test_windows_are_those_of_a_real_convolution(padding, size, dilation, fill, strides):
    spec = parse_kernel(
        layers(
            {
                "type": "conv",
                "size": size,
                "padding": padding,
                "dilation": dilation,
                "fill": fill,
                "strides": strides,
            }
        )
    )
    layer, image = spec.layers[0], np.ones((7, 9))
    filled = np.zeros([(length - 1) * fill + 1 for length in image.shape])
    filled[::fill, ::fill] = image
    if padding != "valid":
        filled = np.pad(filled, padding)
    taps = np.zeros([dilation * (length - 1) + 1 for length in size])
    taps[::dilation, ::dilation] = 1
    down, across = layer.strides
    expected = convolve2d(filled, taps, "valid")[::down, ::across].shape
    assert positions_of(layer, image.shape) == expected


@pytest.mark.parametrize(
    ("layer", "after"),
    [
        ({"type": "avg_pool", "window": 2}, (4, 2)),
        ({"type": "avg_pool", "window": 2, "padding": "same"}, (5, 3)),
        ({"type": "sum_pool", "window": [3, 2], "strides": 1}, (7, 4)),
        ({"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}, (3, 1)),
        ({"type": "ckn_pool", "kind": "average", "subsampling": 2}, (4, 2)),
        ({"type": "ckn_pool", "kind": "strided", "subsampling": 2}, (3, 1)),
        ({"type": "relu"}, (9, 5)),
        ({"type": "flatten"}, ()),
        ({"type": "global_sum_pool"}, ()),
    ],
)
def test_positions_after_layers_that_change_them(layer, after):
    assert positions_of(parse_kernel(layers(layer)).layers[0], (9, 5)) == after


def test_sequences():
    sequence = {"input": {"layout": "sequence"}}
    conv = {"type": "conv", "size": 3, "strides": 2}
    assert positions(layers(conv, {"type": "flatten"}, **sequence), (9, 4)) == [(9,), (5,), ()]
    where, message = refused(layers({"type": "flatten"}, **sequence), (9, 4, 1))
    assert where == "items"
    assert "sequences (L, C)" in message


def test_a_stack_of_grey_images_is_told_to_add_its_channel_axis():
    where, message = refused("myrtle5", (28, 28))
    assert where == "items"
    assert "x[..., None]" in message
    assert "(28, 28, 1)" in message
    assert '"layout": "sequence"' in message


@pytest.mark.parametrize("shape", [(0,), (8, 0, 3), (2, 3, 4, 5), ()])
def test_items_that_are_neither_images_nor_vectors(shape):
    with pytest.raises(ShapeError, match="items of shape"):
        input_positions(parse_kernel("fc"), shape)


@pytest.mark.parametrize(
    ("kernel", "shape", "where", "says"),
    [
        ("fc", (8, 8, 1), "layers[0]", ["(8, 8)", "conv of size 1"]),
        ("myrtle5", (3, 3, 3), "layers[7]", ["(1, 1)", "(0, 0)"]),
        (layers({"type": "conv", "size": 3}), (8, 8, 3), "layers[0]", ["(8, 8)", "global"]),
        (layers(), (8, 8, 3), "layers", ["(8, 8)", "()"]),
        (
            layers({"type": "conv", "size": 5, "padding": "valid"}, {"type": "flatten"}),
            (4, 8, 3),
            "layers[0]",
            ["(4, 8)", "(0, 4)", "size (5, 5)"],
        ),
        (
            layers({"type": "global_avg_pool"}, {"type": "conv", "size": 1}),
            (8, 8, 3),
            "layers[1]",
            ["positions ()"],
        ),
        (
            layers(
                {
                    "type": "residual",
                    "branches": [[], [{"type": "conv", "size": 3, "padding": "valid"}]],
                }
            ),
            (8, 8, 3),
            "layers[0]",
            ["(8, 8)", "(6, 6)", "branches[1]"],
        ),
        (
            layers({"type": "residual", "branches": [[], [{"type": "dense"}]]}),
            (8, 8, 3),
            "layers[0].branches[1][0]",
            ["(8, 8)"],
        ),
    ],
)
def test_impossible_stacks_name_the_layer_and_both_shapes(kernel, shape, where, says):
    found, message = refused(kernel, shape)
    assert found == where
    assert message.startswith(where)
    for words in says:
        assert words in message
