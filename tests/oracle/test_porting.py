"""The examples of docs/porting.md: descriptions of other programs, specs, and their numbers."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from published import cntk, neural_kernels

from gramserve.compute import compute_gram
from gramserve.kernels import read_ckn_layers, read_neural_kernels_config
from gramserve.spec import parse_kernel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "porting.md").read_text()
ORACLES = ROOT / "tests" / "data" / "oracles"
INDEX = json.loads((ORACLES / "index.json").read_text())


def section(title):
    """Return the code blocks of a worked example, by language."""
    body = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)```", body, re.DOTALL))


def exact(x, kernel):
    return compute_gram(x, kernel=kernel, precision="float64", engine="reference")


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def test_every_example_on_the_page_is_tested_here():
    titles = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    assert len(titles) == PAGE.count("```json") == 4
    source = Path(__file__).read_text()
    assert all(f'"{title}"' in source for title in titles)


def test_the_residual_network_of_neural_tangents():
    spec = parse_kernel(json.loads(section("A residual network of Neural Tangents")["json"]))
    entry = INDEX["nt_resnet_2blocks_8x8_gap"]
    assert spec.digest() == parse_kernel(entry["spec"]).digest()
    with np.load(ORACLES / "nt_resnet_2blocks_8x8_gap.npz") as arrays:
        for kernel, gram in exact(arrays["x"], spec).items():
            assert relative(gram, arrays[f"{kernel}_sym"]) <= entry["diagonal_tolerance"][kernel]


def test_the_two_layers_of_ckn_kernel():
    blocks = section("Two layers of ckn_kernel")
    spec = parse_kernel(json.loads(blocks["json"]))
    layers = ast.literal_eval(
        blocks["python"].partition("layers = ")[2].partition("\n]\n")[0] + "]"
    )
    assert read_ckn_layers(layers).digest() == spec.digest()
    with np.load(ORACLES / "ckn_mnist28_readme_exp.npz") as arrays:
        gram = exact(arrays["x"][:3], spec)
        assert relative(gram, arrays["nngp_sym"][:3, :3]) <= 1e-9


def test_the_cntk():
    title = "CNTK of depth 3, first and last layer fixed"
    spec = parse_kernel(json.loads(section(title)["json"]))
    assert spec.digest() == parse_kernel({"preset": "cntk", "depth": 3, "fix": True}).digest()
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 3))
    assert relative(exact(x, spec), cntk(x, 3, fix=True)) < 1e-8


@pytest.mark.parametrize("gap", [True, False])
@pytest.mark.parametrize("fix", [True, False])
def test_the_preset_cntk_has_no_factor(gap, fix):
    x = np.random.default_rng(1).normal(size=(3, 6, 5, 2))
    spec = {"preset": "cntk", "depth": 4, "gap": gap, "fix": fix}
    # The rounded cosines of equal items leave 1e-8 in the published arithmetic.
    assert relative(exact(x, spec), cntk(x, 4, gap=gap, fix=fix)) < 1e-8


def test_the_configuration_of_neural_kernels_code():
    blocks = section("A configuration of neural_kernels_code")
    config = yaml.safe_load(blocks["yaml"])
    spec = read_neural_kernels_config(config)
    assert spec.digest() == parse_kernel(json.loads(blocks["json"])).digest()
    x = np.random.default_rng(2).normal(size=(3, 8, 8, 3))
    assert relative(exact(x, spec), neural_kernels(x, config["KERNEL"]["ARCH"])) < 1e-12


def arch(*layers):
    """Return layers from words: ``"conv3zp residual=0"``."""
    found = []
    for words in layers:
        name, *options = words.split()
        found.append({"layer": name, **{key: ast.literal_eval(value) for key, value in (
            option.split("=") for option in options
        )}})  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("size", "layers"),
    [
        (4, arch("input", "conv3zp", "relu", "pool2", "conv3zpinorm", "relu", "pool2",
                 "relu_project")),
        (8, arch("conv3zp", "exponential_shifted gamma=0.7", "pool2", "conv3zp", "exponential",
                 "pool4", "exponential_shifted_project gamma=2")),
        (8, arch("conv3zpinorm", "quadratic", "group_norm_8", "conv3zp", "quartic", "pool8",
                 "quadratic_project")),
        (6, arch("conv3", "relu", "group_norm_4", "conv3zp", "relu", "pool4", "conv3zp", "relu",
                 "quartic_project")),
        (8, arch("conv3zp", "relu", "conv3zp", "relu", "conv3zp residual=0", "relu", "conv3zp",
                 "relu residual=4", "pool8")),
        (8, arch("conv3zp", "conv3zp", "relu", "conv3zp", "relu residual=1", "conv3zp",
                 "relu residual=0", "pool8")),
        (8, arch("conv3zp", "conv3zp", "relu residual=0", "conv3zp", "relu residual=0", "pool8")),
    ],
)  # fmt: skip
def test_configurations_have_no_factor(size, layers):
    x = np.random.default_rng(3).normal(size=(3, size, size, 2))
    found = exact(x, read_neural_kernels_config(layers))
    assert relative(found, neural_kernels(x, layers)) < 1e-12
