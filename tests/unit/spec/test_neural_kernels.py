"""What configurations of neural_kernels_code become, and what is said about wrong ones."""

import pytest

from gramserve import kernels
from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec import parse_kernel, read_neural_kernels_config


def arch(*names):
    return [name if isinstance(name, dict) else {"layer": name} for name in names]


def layer(name, **keys):
    return {"layer": name, **keys}


def quiet(name, **keys):
    """Return a layer as the published configurations write those after activations."""
    return layer(name, store_norm=False, **keys)


def myrtle(convolutions, activation, last):
    """Return a Myrtle configuration by how many convolutions stand before each pool."""
    layers = []
    for count, pool in zip(convolutions, (*["pool2"] * (len(convolutions) - 1), last), strict=True):
        layers += [layer("conv3zp", precision="float64"), quiet(**activation)] * count
        layers.append(quiet(pool))
    project = {**activation, "name": activation["name"] + "_project"}
    return {"KERNEL": {"ARCH": [*layers, quiet(**project)]}}


RELU = {"name": "relu"}
EXP = {"name": "exponential_shifted", "gamma": 1.0}


@pytest.mark.parametrize("last", ["pool8", "pool7"])
@pytest.mark.parametrize(
    ("preset", "convolutions", "activation"),
    [
        ("myrtle5", (2, 1, 1), RELU),
        ("myrtle7", (2, 2, 2), RELU),
        ("myrtle10", (3, 3, 3), RELU),
        ("myrtle10_exp", (3, 3, 3), EXP),
    ],
)
def test_myrtle_configurations_are_the_presets(preset, convolutions, activation, last):
    spec = read_neural_kernels_config(myrtle(convolutions, activation, last))
    assert spec.digest() == parse_kernel(preset).digest()


def test_kernels_exports_the_reader():
    assert kernels.read_neural_kernels_config is read_neural_kernels_config


def test_a_configuration_its_kernel_part_and_its_layers_mean_the_same():
    layers = arch("conv3zp", "relu", "pool8")
    whole = {"SYSTEM": {"NUM_GPUS": 1}, "KERNEL": {"ARCH": layers, "COATESNG": {"ON": False}}}
    found = [read_neural_kernels_config(given) for given in (whole, whole["KERNEL"], layers)]
    assert found[0] == found[1] == found[2]


def test_defaults_of_the_configuration_fill_layers():
    layers = arch("conv3zp", "exponential_shifted", layer("exponential_shifted", gamma=3), "pool8")
    config = {"ARCH": layers, "ARCH_DEFAULTS": [["exponential_shifted", {"gamma": 2}]]}
    spec = read_neural_kernels_config(config)
    assert [spec.layers[index].gamma for index in (1, 2)] == [2, 3]
    assert layers[1] == {"layer": "exponential_shifted"}


def types(branch):
    return [
        [types(inside) for inside in one.branches] if one.type == "residual" else one.type
        for one in branch
    ]


def test_shortcuts_lie_inside_one_another():
    layers = arch(
        "conv3zp",
        "relu",
        "conv3zp",
        layer("relu", residual=1),
        "conv3zp",
        layer("quartic", residual=0),
        "pool8",
    )
    spec = read_neural_kernels_config(layers)
    inside = ["relu", [[], ["conv"]], "relu", "conv"]
    assert types(spec.layers) == ["conv", [[], inside], "power", "global_avg_pool"]


def test_a_convolution_of_one_position_is_a_ninth():
    spec = read_neural_kernels_config(arch("conv3zp", "relu", "pool8", "conv3zp"))
    assert spec.layers[-1].type == "dense"
    assert spec.layers[-1].w_std == pytest.approx(1 / 3)


NETWORK = ("conv3zp", "relu", "pool8")


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        (arch("conv3zp", "relo", "pool8"), "ARCH[1].layer", "did you mean 'relu'"),
        (arch("relu", "pool8"), "ARCH[0].layer", "no 'relu' to begin with"),
        (arch("conv3zp", "conv3zp_all_chan", "pool8"), "ARCH[1].layer", "after the first layer"),
    ],
)
def test_unknown_layers(given, where, message):
    with pytest.raises(UnknownLayerError, match=message) as caught:
        read_neural_kernels_config(given)
    assert [fault["loc"] for fault in caught.value.errors] == [where]


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        ("KERNEL:\n  ARCH: []", "", "yaml.safe_load"),
        ({"KERNEL": {}}, "KERNEL", "has no ARCH"),
        ({"DATASET": {}}, "KERNEL", "has no ARCH"),
        ({"ARCH": []}, "ARCH", "must not be empty"),
        ({"ARCH": 3}, "ARCH", "must be a list of layers"),
        ({"ARCH": arch(*NETWORK), "COATESNG": {"ON": True}}, "KERNEL.COATESNG", "random features"),
        ({"ARCH": arch(*NETWORK), "ARCH_DEFAULTS": [3]}, "ARCH_DEFAULTS", "must be pairs"),
        ({"ARCH": arch(*NETWORK), "ARCH_DEFAULTS": {"relu": 3}}, "ARCH_DEFAULTS", "must be pairs"),
        ([{"gamma": 1.0}], "ARCH[0].layer", "is required"),
        (["relu"], "ARCH[0]", "relu"),
        (arch("conv3zp", layer("relu", gama=1), "pool8"), "ARCH[1].gama", "did you mean 'gamma'"),
        (arch("conv3zp", layer("relu", gamma=1), "pool8"), "ARCH[1].gamma", "relu has none"),
        (
            arch("conv3zp", layer("exponential_shifted", gamma="big"), "pool8"),
            "ARCH[1].gamma",
            "must be a number",
        ),
        (arch("conv3zp", layer("relu", precision="half"), "pool8"), "ARCH[1].precision", "float32"),
        (arch("conv3zp", "relu"), "ARCH", "has no pool"),
        (arch("conv3zp", "group_norm_16", "pool8"), "ARCH[1].layer", "16 x 16 .* 8 x 8"),
        (arch("conv3zp", "pool8", "conv3"), "ARCH[2].layer", "behind the last pool"),
        (arch("conv3zp", layer("relu", residual=0), "pool8"), "ARCH[1].residual", "two before"),
        (arch("conv3zp", "relu", layer("pool8", residual=7)), "ARCH[2].residual", "got 7"),
        (
            arch("conv3zp", "pool2", layer("relu", residual=0), "pool8"),
            "ARCH[2].residual",
            "16 x 16 .* 8 x 8",
        ),
        (
            arch("conv3zp", "relu", "conv3zp", layer("relu", residual=0),
                 layer("relu", residual=1), "pool8"),
            "ARCH[4].residual",
            "shortcut of layer 3",
        ),
        (
            arch("conv3zp", "relu", layer("conv3zp", residual=0), "relu",
                 layer("conv3zp", residual=1), "pool8"),
            "ARCH[4].residual",
            "shortcut of layer 2",
        ),
    ],
)  # fmt: skip
def test_faults_name_layer_and_key(given, where, message):
    with pytest.raises(SpecError, match=message) as caught:
        read_neural_kernels_config(given)
    assert [fault["loc"] for fault in caught.value.errors] == [where]


def test_all_faults_are_said_at_once():
    layers = arch("conv3zp", layer("relo", gamma=2), layer("relu", gamma=1), "pol8")
    with pytest.raises(UnknownLayerError) as caught:
        read_neural_kernels_config(layers)
    places = [fault["loc"] for fault in caught.value.errors]
    assert places == ["ARCH[1].layer", "ARCH[1].gamma", "ARCH[2].gamma", "ARCH[3].layer"]
