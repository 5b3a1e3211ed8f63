"""What a kernel spec accepts, and what it says about everything else."""

import pytest

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec import KernelSpec, layers, parse_kernel
from gramserve.spec.layers import LAYER_TYPES

# One valid way to write every layer, with its required fields and nothing else.
MINIMAL = {
    "conv": {"size": 3},
    "conv_local": {"size": 3},
    "abrelu": {"a": 0.5, "b": 2},
    "arc_cosine": {"order": 1},
    "monomial": {"degree": 2},
    "polynomial": {"coefficients": [0, 1, 0.5]},
    "hermite": {"degree": 2},
    "power": {"degree": 2},
    "linear": {"factor": 2},
    "numeric": {"function": "tanh"},
    "avg_pool": {"window": 2},
    "sum_pool": {"window": 2},
    "ckn_pool": {"kind": "gaussian", "subsampling": 2},
    "layer_norm": {"axes": "channels"},
    "residual": {"branches": [[], [{"type": "conv", "size": 3}]]},
    "concat": {"branches": [[], [{"type": "relu"}]]},
}


def faults_of(kernel):
    with pytest.raises(SpecError) as caught:
        parse_kernel(kernel)
    for fault in caught.value.errors:
        assert fault["message"] in str(caught.value)
    return {(fault["loc"], fault["message"]) for fault in caught.value.errors}


def faults_of_layer(**layer):
    return faults_of({"layers": [layer]})


@pytest.mark.parametrize("name", LAYER_TYPES)
def test_every_layer_is_read_with_its_required_fields_alone(name):
    spec = parse_kernel({"layers": [{"type": name, **MINIMAL.get(name, {})}]})
    assert spec.layers[0].type == name
    assert parse_kernel(spec.canonical()) == spec
    for field in MINIMAL.get(name, {}):
        rest = {key: value for key, value in MINIMAL[name].items() if key != field}
        if LAYER_TYPES[name].model_fields[field].is_required():
            assert ("layers[0]." + field, "is required") in faults_of_layer(type=name, **rest)


def test_all_faults_are_said_at_once():
    kernel = {
        "layers": [
            {"type": "conv", "sise": 3},
            {"type": "relo"},
            {"type": "dense", "w_std": -1},
            {"size": 3},
            "relu",
            {"type": "conv", "size": [3, 0]},
        ],
        "kernl": "ntk",
        "kernel": "nggp",
        "input": {"chanels": "sum", "channels": "avg"},
    }
    with pytest.raises(UnknownLayerError, match="11 faults"):
        parse_kernel(kernel)
    assert faults_of(kernel) == {
        ("layers[0].size", "is required"),
        ("layers[0].sise", "unknown key; did you mean 'size'?"),
        ("layers[1]", "unknown layer type 'relo'; did you mean 'relu'?"),
        ("layers[2].w_std", "input should be greater than or equal to 0, got -1"),
        ("layers[3]", 'has no "type"; a layer is written {"type": "relu"}'),
        ("layers[4]", """must be a layer such as {"type": "relu"}, got 'relu'"""),
        ("layers[5].size", "must be at least 1, got 0"),
        ("kernl", "unknown key; did you mean 'kernel'?"),
        ("kernel", 'must be "nngp", "ntk" or a list of both, got \'nggp\''),
        ("input.chanels", "unknown key; did you mean 'channels'?"),
        ("input.channels", "'avg' is not known; known are all, mean, sum"),
    }


@pytest.mark.parametrize("value", ["3", 2.5, True, 0, -1, [], [3, 3, 3], None, 2**40, [3, "3"]])
def test_sizes_are_whole_numbers(value):
    assert {where for where, _ in faults_of_layer(type="conv", size=value)} == {"layers[0].size"}


@pytest.mark.parametrize("value", ["1", True, float("nan"), float("inf"), -0.5, None, [1]])
def test_standard_deviations_are_numbers(value):
    assert {where for where, _ in faults_of_layer(type="dense", w_std=value)} == {"layers[0].w_std"}


@pytest.mark.parametrize("padding", ["sane", [[1, 1]], [[1, 1], [1]], [[1, -1], [0, 0]], 1])
def test_paddings(padding):
    faults = faults_of_layer(type="conv", size=3, padding=padding)
    assert all(where.startswith("layers[0].padding") for where, _ in faults)


def test_circular_padding_needs_positions_without_holes():
    faults = faults_of_layer(type="conv", size=3, padding="circular", fill=2)
    assert faults == {("layers[0].fill", 'padding "circular" needs fill 1, got 2')}


def test_a_sequence_has_one_axis():
    sequence = {"input": {"layout": "sequence"}}
    conv = {"type": "conv", "size": [3, 3]}
    assert faults_of({**sequence, "layers": [conv]}) == {
        ("layers[0].size", "2 numbers for 1 spatial axes")
    }
    spec = parse_kernel({**sequence, "layers": [{"type": "conv", "size": 3}]})
    assert spec.layers[0].size == (3,)


def test_faults_inside_branches_have_their_place():
    branches = [[], [{"type": "residual", "branches": [[{"type": "conv"}]]}]]
    faults = faults_of_layer(type="residual", branches=branches)
    assert faults == {("layers[0].branches[1][0].branches[0][0].size", "is required")}


@pytest.mark.parametrize("kernel", [5, None, ["myrtle5"], b"myrtle5"])
def test_a_kernel_is_a_name_a_mapping_or_a_spec(kernel):
    assert next(iter(faults_of(kernel)))[0] == ""


def test_another_format_is_refused():
    kernel = {"format": "gramserve.kernel/2", "layers": []}
    assert {where for where, _ in faults_of(kernel)} == {"format"}


@pytest.mark.parametrize("kernel", [[], ["nngp", "nngp"], "both", 3])
def test_the_kernels_asked_for(kernel):
    assert {where for where, _ in faults_of({"layers": [], "kernel": kernel})} == {"kernel"}


def test_specs_are_frozen_and_objects_are_as_good_as_json():
    spec = KernelSpec(layers=[layers.AvgPool(window=2), layers.Flatten()])
    assert spec.layers[0].strides == (2, 2)
    assert spec == parse_kernel(
        {"layers": [{"type": "avg_pool", "window": 2}, {"type": "flatten"}]}
    )
    assert parse_kernel(spec) is spec
    with pytest.raises(ValueError, match="frozen"):
        spec.kernel = "ntk"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"channel_variances": [1, -3]},
            "channel_variances: must be at least 0 and finite, got -3",
        ),
        ({"channel_variances": []}, "one for each channel, got an empty list"),
        ({"channel_variances": "2"}, "must be a number, got '2'"),
        ({"channel_variances": [1, 2], "channels": "all"}, "must be one number"),
        ({"bias_variance": -1}, "bias_variance"),
    ],
)
def test_weights_of_the_input_are_checked(given, words):
    with pytest.raises(SpecError, match=words):
        parse_kernel({"preset": "fc", "input": given})


def test_weights_of_the_input_leave_no_trace_where_they_are_not_given():
    plain = parse_kernel("myrtle5")
    assert parse_kernel({"preset": "myrtle5", "input": {"channel_variances": 1}}) == plain
    assert "bias_variance" not in plain.canonical()["input"]
    assert (
        parse_kernel({"preset": "myrtle5", "input": {"bias_variance": 1}}).digest()
        != plain.digest()
    )
