"""What the pages on kernels say of layers, held against the engines that run them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cuda_shim import ShimDevice

from gramserve.arrays import OwnCard
from gramserve.compute import compute_gram
from gramserve.kernels import make_engines
from gramserve.kernels.duals.numeric import hermite_coefficients
from gramserve.spec import parse_kernel
from gramserve.spec.functions import FUNCTIONS
from gramserve.spec.layers import LAYER_TYPES

DOCS = Path(__file__).parents[2] / "docs"
KERNELS = (DOCS / "kernels.md").read_text()
SPEC = (DOCS / "spec.md").read_text()

REQUIRED = {
    "conv": {"size": 3},
    "conv_local": {"size": 3},
    "abrelu": {"a": 0.5, "b": 2},
    "arc_cosine": {"order": 1},
    "monomial": {"degree": 2},
    "polynomial": {"coefficients": [0, 1, 0.5]},
    "hermite": {"degree": 2},
    "power": {"degree": 2},
    "numeric": {"function": "tanh"},
    "avg_pool": {"window": 2},
    "sum_pool": {"window": 2},
    "ckn_pool": {"kind": "gaussian", "subsampling": 2},
    "layer_norm": {"axes": "channels"},
    "residual": {"branches": [[], [{"type": "relu"}]]},
    "concat": {"branches": [[], [{"type": "relu"}]]},
}

CONDITIONS = {
    "up to order 20": ([{"order": 20}], [{"order": 21}]),
    "up to degree 40": ([{"degree": 40}], [{"degree": 41}]),
    "for b ≤ 0": ([{"b": 0}], [{"b": 0.25}]),
    "weights up to 1e30": (
        [{"coefficients": [0] * 30 + [1]}],
        [{"coefficients": [0] * 40 + [1e9]}],
    ),
    "exponents up to 80": ([{"gamma": 40, "shift": 1}], [{"gamma": 41, "shift": 1}]),
    'without `fill`, not "circular"': (
        [{"padding": "valid", "strides": 2}],
        [{"fill": 2}, {"padding": "circular"}],
    ),
    "as its branches": (
        [{"branches": [[], [{"type": "abs"}]]}],
        [{"branches": [[], [{"type": "center"}]]}],
    ),
}
"""For every condition that the page makes, options that keep it and options that break it."""


ENGINES = make_engines(OwnCard(ShimDevice()))
COLUMNS = ["cpu", "cuda"]


def documented(engine):
    """Return the cell of an engine's column in the row of every layer."""
    found, column = {}, None
    for line in KERNELS.splitlines():
        cells = [cell.strip() for cell in line.replace(r"\|", "").split("|")][1:-1]
        if engine in cells and cells[0] == "type":
            column = cells.index(engine)
        elif not cells:
            column = None
        elif column is not None and (name := re.match(r"`(\w+)`", cells[0])):
            found.setdefault(name[1], cells[column])
    return found


def refusal(engine, name, **options):
    layer = {"type": name, **REQUIRED.get(name, {}), **options}
    return ENGINES[engine].refusal(parse_kernel({"layers": [layer]}), "float64")


@pytest.mark.parametrize("engine", COLUMNS)
def test_every_layer_has_its_row(engine):
    assert set(documented(engine)) == set(LAYER_TYPES)
    assert set(documented(engine).values()) == {"yes", "no", *CONDITIONS}


@pytest.mark.parametrize("engine", COLUMNS)
@pytest.mark.parametrize("name", LAYER_TYPES)
def test_the_engines_run_what_the_page_says(name, engine):
    says = documented(engine)[name]
    assert (refusal(engine, name) is not None) == (says == "no")
    kept, broken = CONDITIONS.get(says, ([], []))
    assert not [options for options in kept if refusal(engine, name, **options) is not None]
    assert not [options for options in broken if refusal(engine, name, **options) is None]


def test_the_errors_of_the_quadrature_are_those_of_the_page():
    table = KERNELS.partition("| degree | error of")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \|", table, re.MULTILINE)
    assert len(rows) == 4
    variance = np.array([5.0])
    for degree, *errors in rows:
        for derivative, error in zip((False, True), errors, strict=True):
            found, exact = (
                (hermite_coefficients("tanh", nodes, variance, derivative=derivative) ** 2).sum()
                for nodes in (int(degree), 1000)
            )
            assert abs(found / exact - 1) == pytest.approx(float(error), rel=0.25)


def test_every_named_function_is_on_the_page():
    listed = SPEC.partition("### Named functions")[2].partition("```")[0]
    assert set(FUNCTIONS) <= set(re.findall(r"`(\w+)`", listed))


def items_for(spec):
    """Return two tiny items that a network of the page runs on, images before vectors."""
    shape = (8, 8, 2) if any(layer.type == "conv" for layer in spec.layers) else (2,)
    return np.random.default_rng(0).normal(size=(2, *shape))


def test_every_spec_on_the_page_runs():
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", SPEC, re.DOTALL)]
    specs = [parse_kernel(block) for block in blocks if {"layers", "preset"} & set(block)]
    assert len(specs) >= 9
    for spec in specs:
        grams = compute_gram(items_for(spec), kernel=spec, precision="float64")
        for gram in grams.values() if isinstance(grams, dict) else [grams]:
            values = np.linalg.eigvalsh(gram)
            assert values.min() > -1e-12 * values.max(), spec
