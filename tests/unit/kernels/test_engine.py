"""Which engine runs a kernel, and what is said when none does."""

import pytest

from gramserve.errors import EngineUnavailableError
from gramserve.kernels import ENGINES, choose_engine, describe_engines
from gramserve.kernels.precision import result_dtype, working_dtype
from gramserve.spec import PRECISIONS, parse_kernel

MYRTLE = parse_kernel("myrtle5")


@pytest.fixture(autouse=True)
def _without_card(monkeypatch):
    monkeypatch.setattr(ENGINES["cuda"], "missing", lambda: "hidden from these tests")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("wanted", ["auto", "cpu", "reference"])
def test_the_engine_asked_for_runs_or_the_fastest_and_says_why(wanted, precision):
    engine, why = choose_engine(MYRTLE, precision, wanted)
    assert engine is ENGINES["cpu" if wanted == "auto" else wanted]
    assert why


def test_what_the_fast_engine_cannot_goes_to_the_reference_engine_and_says_why():
    exp = {"type": "exp_normalized", "gamma": 50, "shift": 1}
    for layers, reason in (
        ([{"type": "residual", "branches": [[exp], []]}], "branches[0][0] (exp_normalized) takes"),
        ([exp], "layers[0] (exp_normalized) takes exp of more than 80"),
    ):
        engine, why = choose_engine(parse_kernel({"layers": layers}), "float32")
        assert engine is ENGINES["reference"]
        assert "cpu: " in why
        assert reason in why


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ({"type": "arc_cosine", "order": 30}, "of an order above 20"),
        ({"type": "gaussian", "b": 0.1}, r"\(gaussian\) grows"),
        ({"type": "monomial", "degree": 60}, "weights above 1e"),
        (
            {"type": "residual", "branches": [[{"type": "arc_cosine", "order": 40}], []]},
            r"layers\[1\]\.branches\[0\]\[0\] \(arc_cosine\)",
        ),
    ],
)  # fmt: skip
def test_what_an_engine_asked_for_cannot_run_is_refused_by_name(layer, name):
    spec = parse_kernel({"layers": [{"type": "dense"}, layer]})
    with pytest.raises(EngineUnavailableError, match=name):
        choose_engine(spec, "float32", "cpu")
    assert choose_engine(spec, "float32")[0] is ENGINES["reference"]


def test_engines_that_are_unknown_are_told_the_nearest_name():
    with pytest.raises(EngineUnavailableError, match="did you mean 'reference'"):
        choose_engine(MYRTLE, "float32", "referense")


def test_every_engine_is_described():
    described = {entry["name"]: entry for entry in describe_engines()}
    assert described["reference"]["available"] is True
    assert described["cpu"]["available"] is True
    assert set(described) == {"cuda", "cpu", "reference", "finite"}
    assert all(entry["why"] for entry in described.values())


def test_only_float64_is_stored_in_float64():
    assert [result_dtype(p).name for p in ("float32", "mixed", "float64")] == [
        "float32", "float32", "float64",
    ]  # fmt: skip
    assert working_dtype("mixed").name == "float64"
