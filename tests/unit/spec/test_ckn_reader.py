"""What ckn_kernel's layers become, and what is said about wrong ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from gramserve import kernels
from gramserve.compute import compute_gram
from gramserve.errors import SpecError
from gramserve.spec import parse_kernel, read_ckn_layers

ORACLES = Path(__file__).parents[2] / "data" / "oracles"
INDEX = json.loads((ORACLES / "index.json").read_text())


def layer(npatch, subsampling, **others):
    return {"npatch": npatch, "subsampling": subsampling, **others}


MODELS = {
    "ckn_mnist28_readme_exp": [layer(3, 2, sigma=0.65), layer(3, 5, sigma=0.65)],
    "ckn_im16_exp_sigma": [layer(3, 2, sigma=0.3), layer(3, 2, sigma=1.2)],
    "ckn_im16_exp_poly3": [layer(3, 2, sigma=0.65), layer(3, 2, kernel="poly3")],
    "ckn_im16_exp_square": [layer(3, 2, sigma=0.65), layer(3, 2, kernel="square")],
    "ckn_im16_exp_poolfactor4_sub2": [
        layer(3, 2, poolfactor=4, sigma=0.65), layer(3, 2, sigma=0.65)
    ],
    "ckn_im16_exp_avg_poolfactor3_sub2": [
        layer(3, 2, poolfactor=3, sigma=0.65, pooling="average"),
        layer(3, 2, sigma=0.65, pooling="average"),
    ],
    "ckn_im16_relu_ntk_strided_s2_p5": [layer(5, 2, pooling="strided")] * 2,
    "ckn_im16_1layer_relu_ntk_s2": [layer(3, 2, pooling="average")],
}  # fmt: skip
"""What ckn_kernel was given, in its own words."""


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_of_an_oracle_give_its_matrix(name):
    entry = INDEX[name]
    spec = read_ckn_layers(MODELS[name], ntk=spec_of(name).kernel == "ntk")
    with np.load(ORACLES / f"{name}.npz") as arrays:
        x, wanted = arrays["x"][:4], arrays[f"{spec.kernel}_sym"][:4, :4]
    found = compute_gram(x, kernel=spec, precision="float64", engine="reference")
    limit = entry["diagonal_tolerance"][spec.kernel]
    assert np.abs(found - wanted).max() <= limit * np.abs(wanted).max()


def spec_of(name):
    return parse_kernel(INDEX[name]["spec"])


def test_kernels_exports_the_reader():
    assert kernels.read_ckn_layers is read_ckn_layers


def test_defaults_are_those_of_the_program():
    (plain,) = [read_ckn_layers([layer(3, 2)])]
    assert plain.kernel == "nngp"
    assert (plain.layers[1].type, plain.layers[1].gamma) == ("exp_normalized", 1)
    assert (plain.layers[2].kind, plain.layers[2].factor) == ("gaussian", 2)
    tangent = read_ckn_layers([layer(3, 2)], ntk=True)
    assert tangent.kernel == "ntk"
    assert [one.type for one in tangent.layers] == ["conv", "relu", "ckn_pool", "flatten", "dense"]
    assert tangent.layers[1].normalized


def test_sigma_is_the_factor_of_the_linear_kernel():
    def factor(**keys):
        return read_ckn_layers([layer(1, 1, kernel="linear", **keys)]).layers[1].factor

    assert factor() == 1
    assert factor(sigma=0.5) == 0.5
    # So it is of the preset, whose exp kernels have another default.
    for sigma, wanted in ({}, 1), ({"sigma": 0.5}, 0.5):
        given = [layer(1, 1, kernel="linear", **sigma)]
        assert parse_kernel({"preset": "ckn", "layers": given}).layers[1].factor == wanted


def test_the_preset_agrees_where_nothing_is_left_to_defaults():
    given = [layer(4, 2, kernel="exp", sigma=0.8), layer(3, 2, kernel="poly2", pooling="average")]
    assert read_ckn_layers(given) == parse_kernel({"preset": "ckn", "layers": given})
    relu = [layer(4, 2, kernel="relu")]
    preset = parse_kernel({"preset": "ckn", "layers": relu, "ntk": True})
    assert read_ckn_layers(relu, ntk=True) == preset


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        ([layer(3, 2), {"npatch": 3}], "layers[1].subsampling", "is required"),
        ([{**layer(3, 2), "sigmaa": 1}], "layers[0].sigmaa", "did you mean 'sigma'"),
        ([layer(3, 2, kernel="poly5")], "layers[0].kernel", "did you mean 'poly4'"),
        ([layer(3, 2, pooling="gauss")], "layers[0].pooling", "did you mean 'gaussian'"),
        ([layer(3, 2, sigma=0)], "layers[0].sigma", "greater than 0"),
        ([layer(2.5, 2)], "layers[0].npatch", "whole number"),
        ([layer(3, 0)], "layers[0].subsampling", "at least 1"),
        ([], "layers", "must not be empty"),
        (layer(3, 2), "layers", "list of dictionaries"),
        ("exp", "layers", "list of dictionaries"),
    ],
)
@pytest.mark.parametrize("ntk", [True, False])
def test_faults_name_layer_and_key(given, where, message, ntk):
    with pytest.raises(SpecError, match=message) as caught:
        read_ckn_layers(given, ntk=ntk)
    assert [fault["loc"] for fault in caught.value.errors] == [where]


def test_all_faults_are_said_at_once():
    with pytest.raises(SpecError) as caught:
        read_ckn_layers([{"npatch": 0}, layer(3, 2, kernel="rbf")])
    places = {fault["loc"] for fault in caught.value.errors}
    assert places == {"layers[0].npatch", "layers[0].subsampling", "layers[1].kernel"}
