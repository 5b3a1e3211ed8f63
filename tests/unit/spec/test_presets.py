"""Presets, against their definition as letters and lists."""

import pytest

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec import PRESETS, describe_presets, parse_kernel

C = {"type": "conv", "size": 3}
R = {"type": "relu", "normalized": True}
E = {"type": "exp_normalized", "gamma": 1}
P = {"type": "avg_pool", "window": 2}
GAP = {"type": "global_avg_pool"}

MYRTLE = {
    "myrtle5": "c r c r p c r p c r",
    "myrtle7": "c r c r p c r c r p c r c r",
    "myrtle10": "c r c r c r p c r c r c r p c r c r c r",
}


def kernel(layers, name="nngp"):
    return parse_kernel({"layers": layers, "kernel": name})


@pytest.mark.parametrize("name", MYRTLE)
@pytest.mark.parametrize(("suffix", "activation"), [("", R), ("_exp", E)])
def test_myrtle(name, suffix, activation):
    body = [{"c": C, "r": activation, "p": P}[letter] for letter in MYRTLE[name].split()]
    head = {**activation, "project": True}
    assert parse_kernel(name + suffix) == kernel([*body, GAP, head])
    without = parse_kernel({"preset": name + suffix, "head": False, "kernel": "ntk"})
    assert without == kernel([*body, GAP], "ntk")


def test_cntk():
    sum_up = {"type": "flatten", "average": False}
    assert parse_kernel("cntk") == kernel([C, R] * 10 + [GAP, {"type": "dense"}], "ntk")
    small = parse_kernel({"preset": "cntk", "depth": 3, "gap": False})
    assert small == kernel([C, R, C, R, sum_up, {"type": "dense"}], "ntk")
    fixed = parse_kernel({"preset": "cntk", "depth": 3, "fix": True})
    last = {"type": "dense", "trainable": False}
    assert fixed == kernel([{**C, "trainable": False}, R, C, R, GAP, last], "ntk")


def test_ckn():
    given = [
        {"npatch": 3, "subsampling": 2, "kernel": "exp", "sigma": 0.5},
        {"npatch": 2, "subsampling": 5, "poolfactor": 3, "kernel": "poly3", "pooling": "average"},
        {"npatch": 1, "subsampling": 1, "kernel": "relu", "pooling": "strided"},
        {"npatch": 1, "subsampling": 1, "kernel": "linear"},
        {"npatch": 1, "subsampling": 1, "kernel": "square"},
    ]

    def pool(kind, subsampling, factor):
        return {
            "type": "ckn_pool", "kind": kind, "subsampling": subsampling, "factor": factor
        }  # fmt: skip

    one = {"type": "conv", "size": 1, "average": False}
    expected = [
        {"type": "conv", "size": 3, "average": False},
        {"type": "exp_normalized", "gamma": 4},
        pool("gaussian", 2, 2),
        {"type": "conv", "size": 2, "average": False, "padding": [[1, 0], [1, 0]]},
        {"type": "power", "degree": 3},
        pool("average", 5, 3),
        one, R, pool("strided", 1, 1),
        one, {"type": "linear"}, pool("gaussian", 1, 1),
        one, {"type": "square"}, pool("gaussian", 1, 1),
        {"type": "flatten", "average": False},
    ]  # fmt: skip
    assert parse_kernel({"preset": "ckn", "layers": given}) == kernel(expected)
    ntk = parse_kernel({"preset": "ckn", "layers": given, "ntk": True})
    assert ntk == kernel([*expected, {"type": "dense"}], "ntk")


def test_fc():
    dense = {"type": "dense", "w_std": 2**0.5}
    relu, last = {"type": "relu"}, {"type": "dense", "w_std": 1}
    assert parse_kernel("fc") == kernel([dense, relu] * 3 + [last])
    deep = parse_kernel(
        {"preset": "fc", "depth": 1, "activation": {"type": "erf", "b": 2}, "b_std": 0.1}
    )
    assert deep == kernel(
        [{**dense, "b_std": 0.1}, {"type": "erf", "b": 2}, {**last, "b_std": 0.1}]
    )
    assert parse_kernel({"preset": "fc", "activation": "erf"}).layers[1].type == "erf"


def test_every_preset_takes_kernel_and_input():
    for name in PRESETS:
        options = {"layers": [{"npatch": 3, "subsampling": 2}]} if name == "ckn" else {}
        plain = parse_kernel({"preset": name, **options})
        asked = {"kernel": ["nngp", "ntk"], "input": {"channels": "mean"}}
        spec = parse_kernel({"preset": name, **options, **asked})
        assert spec.layers == plain.layers
        assert spec.kernels == ("nngp", "ntk")
        assert spec.input.channels == "mean"


@pytest.mark.parametrize(
    ("preset", "where", "message"),
    [
        ({"preset": "mirtle10"}, "preset", "did you mean 'myrtle10'"),
        ({"preset": 7}, "preset", "unknown preset 7"),
        ({"preset": "myrtle5", "haed": False}, "haed", "did you mean 'head'"),
        ({"preset": "cntk", "depth": 1}, "depth", "got 1"),
        ({"preset": "cntk", "depth": "11"}, "depth", "whole number"),
        ({"preset": "ckn"}, "layers", "is required"),
        ({"preset": "ckn", "layers": []}, "layers", "must not be empty"),
        ({"preset": "ckn", "layers": [{"npatch": 3}]}, "layers[0].subsampling", "is required"),
        ({"preset": "fc", "activation": "rleu"}, "layers[1]", "did you mean 'relu'"),
        ({"preset": "fc", "kernel": "ntkk"}, "kernel", "must be"),
    ],
)
def test_faults(preset, where, message):
    with pytest.raises(SpecError, match=message) as caught:
        parse_kernel(preset)
    assert caught.value.errors[0]["loc"] == where
    unknown = where in {"preset", "layers[1]"}
    assert isinstance(caught.value, UnknownLayerError) == unknown


def test_presets_are_described_with_their_defaults():
    described = {entry["preset"]: entry["options"] for entry in describe_presets()}
    assert set(described) == set(PRESETS)
    assert described["cntk"] == {
        "kernel": None, "input": None, "augment": None, "finite": None, "depth": 11, "gap": True,
        "lap": 0, "fix": False, "readouts": False,
    }  # fmt: skip


def test_local_average_pooling_is_a_box_blur_before_flattening():
    """Li et al. 2019: with no room it is flattening, with room for everything a global pool."""
    blurred = parse_kernel({"preset": "cntk", "depth": 3, "lap": 2}).layers[-3:]
    assert [layer.type for layer in blurred] == ["avg_pool", "flatten", "dense"]
    assert (blurred[0].window, blurred[0].strides, blurred[0].padding) == ((5, 5), (1, 1), "same")
    assert blurred[1].average is False


@pytest.mark.parametrize(("preset", "depths"), [("fc", [1, 2, 3]), ("cntk", [2, 3])])
def test_readouts_are_the_preset_at_every_smaller_depth(preset, depths):
    spec = parse_kernel({"preset": preset, "depth": 4, "readouts": True, "kernel": ["nngp", "ntk"]})
    assert [readout.name for readout in spec.readouts] == [f"depth{depth}" for depth in depths]
    for depth in depths:
        for kernel in ("nngp", "ntk"):
            alone = parse_kernel({"preset": preset, "depth": depth, "kernel": kernel})
            assert spec.for_output(f"depth{depth}.{kernel}") == alone
