"""The field `finite` of a kernel spec, and which networks have a finite counterpart."""

import pytest

from gramserve.errors import SpecError
from gramserve.spec import FiniteSpec, KernelSpec, layers, parse_kernel
from gramserve.spec.finite import LINEAR, POINTWISE, WEIGHTED, finite_faults
from gramserve.spec.layers import LAYER_TYPES

CONV, DENSE, RELU = {"type": "conv", "size": 3}, {"type": "dense"}, {"type": "relu"}
GAP, FLATTEN = {"type": "global_avg_pool"}, {"type": "flatten"}


def faults_of(network, **finite):
    with pytest.raises(SpecError) as caught:
        parse_kernel({"layers": network, "finite": finite})
    return {fault["loc"]: fault["message"] for fault in caught.value.errors}


def test_a_spec_without_it_keeps_its_digest():
    spec = parse_kernel({"layers": [DENSE, RELU, {**DENSE, "b_std": 0.5}], "kernel": "ntk"})
    assert "finite" not in spec.canonical()
    assert spec.digest() == "1e4d4791c1c77aa23fa97f55e6018541095d9068cbc56a7ec14b92062bd71f66"
    assert parse_kernel({**spec.canonical(), "finite": None}).digest() == spec.digest()
    assert spec.finite is None


def test_defaults_are_filled_in_and_every_field_names_another_kernel():
    plain = parse_kernel("fc")
    spec = parse_kernel({"preset": "fc", "finite": {}})
    assert spec.finite == FiniteSpec(width=256, seed=0, samples=8, outputs=1)
    assert spec.canonical()["finite"] == {
        "width": 256, "seed": 0, "samples": 8, "outputs": 1, "parameterization": "ntk",
    }  # fmt: skip
    assert parse_kernel(spec.canonical()) == spec
    others = [{"width": 255}, {"seed": 1}, {"samples": 9}, {"outputs": 2},
              {"parameterization": "standard"}]  # fmt: skip
    digests = {parse_kernel({"preset": "fc", "finite": other}).digest() for other in others}
    assert len(digests | {spec.digest(), plain.digest()}) == 7
    assert spec.network_digest() != plain.network_digest()
    assert KernelSpec(layers=[layers.Dense()], finite=FiniteSpec(width=8.0)).finite.width == 8


@pytest.mark.parametrize(
    ("finite", "where", "words"),
    [
        ({"widht": 8}, "finite.widht", "did you mean 'width'"),
        ({"width": 0}, "finite.width", "at least 1"),
        ({"width": "8"}, "finite.width", "whole number"),
        ({"seed": -1}, "finite.seed", "greater than or equal to 0"),
        ({"samples": 1.5}, "finite.samples", "whole number"),
        ({"parameterization": "ntkk"}, "finite.parameterization", "did you mean 'ntk'"),
        ("yes", "finite", "dictionary"),
    ],
)
def test_faults_of_the_field(finite, where, words):
    with pytest.raises(SpecError, match=words) as caught:
        parse_kernel({"preset": "fc", "finite": finite})
    assert [fault["loc"] for fault in caught.value.errors] == [where]


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "exp_normalized"},
        {"type": "power", "degree": 2},
        {"type": "square"},
        {"type": "relu", "project": True},
        {"type": "arc_cosine", "order": 1, "project": True},
    ],
)
def test_layers_that_are_kernels_alone_are_named(layer):
    branch = {"type": "residual", "branches": [[RELU, CONV, layer, CONV], []]}
    found = faults_of([CONV, layer, CONV, branch, FLATTEN])
    assert set(found) == {"layers[1]", "layers[3].branches[0][2]"}
    assert all("no finite-width counterpart" in message for message in found.values())
    parse_kernel({"layers": [CONV, layer, CONV, FLATTEN]})


def test_layers_are_refused_unless_they_are_known_to_have_a_counterpart():
    known = (*WEIGHTED, *POINTWISE, *LINEAR, layers.LayerNorm, layers.Residual, layers.Concat)
    refused = set()
    for name, model in LAYER_TYPES.items():
        layer = model.model_construct(branches=())
        found = finite_faults([layers.Conv(size=1), layer])
        assert bool(found) == (model not in known), name
        refused |= {name} if found else set()
    assert refused >= {"exp_normalized", "power", "square"}


@pytest.mark.parametrize(
    ("network", "where", "words"),
    [
        ([RELU, DENSE], "layers[0]", "acts on the items themselves"),
        ([CONV, RELU, RELU, GAP], "layers[2]", r"follows layers[1] (relu)"),
        ([CONV, RELU, GAP, {"type": "erf"}, DENSE], "layers[3]", "follows layers[1] (relu)"),
        ([CONV, FLATTEN, RELU, DENSE], "layers[2]", "follows layers[1] (flatten)"),
        ([CONV, {"type": "concat", "branches": [[], [CONV]]}, RELU, GAP], "layers[2]",
         "follows layers[1] (concat)"),
        ([CONV, RELU, {"type": "layer_norm", "axes": "all"}, GAP], "layers[2]", "not Gaussian"),
        ([CONV, {"type": "residual", "branches": [[], []]}, GAP], "layers[1]",
         "branches[0] and branches[1] are correlated"),
        ([CONV, {"type": "residual", "branches": [[CONV, RELU], [RELU]]}, GAP], "layers[1]",
         "at most one branch"),
    ],
)  # fmt: skip
def test_networks_whose_limit_is_another_kernel_are_refused(network, where, words):
    found = faults_of(network)
    assert list(found) == [where]
    assert words in found[where]
    parse_kernel({"layers": network})


@pytest.mark.parametrize(
    "network",
    [
        [CONV, {"type": "avg_pool", "window": 2}, RELU, GAP],
        [CONV, GAP, RELU, DENSE, RELU],
        [{"type": "avg_pool", "window": 2}, FLATTEN],
        [CONV, {"type": "layer_norm", "axes": "channels"}, RELU, GAP],
        [CONV, {"type": "residual", "branches": [[RELU, CONV], [CONV], []]}, RELU, GAP],
        # What comes from weights before the branches is fresh for whoever is outside.
        [CONV, {"type": "residual", "branches": [
            [CONV, {"type": "residual", "branches": [[RELU, CONV], []]}], [],
        ]}, RELU, GAP],
        [CONV, {"type": "concat", "branches": [[RELU], []]}, CONV, RELU, GAP],
        [CONV, {"type": "concat", "branches": [[{"type": "identity"}]]}, RELU, GAP],
    ],
)  # fmt: skip
def test_networks_whose_limit_is_the_kernel_are_taken(network):
    assert parse_kernel({"layers": network, "finite": {}}).finite is not None


def test_presets_take_the_field():
    for preset in ("fc", "cntk"):
        assert parse_kernel({"preset": preset, "finite": {"width": 4}}).finite.width == 4
    assert parse_kernel({"preset": "myrtle5", "head": False, "finite": {}}).finite.width == 256
    with pytest.raises(SpecError, match="set project to false or leave the layer out"):
        parse_kernel({"preset": "myrtle5", "finite": {}})
