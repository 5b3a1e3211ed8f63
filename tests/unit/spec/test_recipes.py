"""Recipes of preprocessing: what they mean, what names them, what is wrong with them."""

import pytest

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec import (
    RECIPES,
    PreprocessingRecipe,
    derived_address,
    describe_recipes,
    fit_address,
    parse_preprocess,
    parse_recipe,
)
from gramserve.spec.preprocessing import Center, Normalize, Zca

A, B = "a" * 64, "b" * 64
# Pinned: they name what people have stored.
RECIPE_DIGEST = "33fc8781c3302b37b3a78e2ec18442040ba53e5b4e1651b2a553a7d5e99835f4"
DERIVED_DIGEST = "459f4a467019a5bfd0f9fd125d9bbd815f11c42d2ffdd94fc739cb5735052b3e"
FIT_DIGEST = "a6ad555642c550a6403a7eb4366f436e9174afda71b78848b181c5d36c476701"
PIXELS = {"steps": [{"type": "scale", "factor": 1}, {"type": "standardize"}]}


def places(caught):
    return [fault["loc"] for fault in caught.value.errors]


def test_a_name_is_its_steps():
    steps = (Center(), Normalize(norm="unit"), Zca(regularization=1e-4, mode="absolute"))
    written = PreprocessingRecipe(steps=steps)
    assert parse_recipe("shankar2020") == written
    assert parse_recipe({"preset": "shankar2020"}).digest() == written.digest()
    assert parse_recipe(written) is written
    other = parse_recipe({"preset": "shankar2020", "regularization": 1e-3})
    assert other.steps[2].regularization == 1e-3
    assert other.digest() != written.digest()


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_whitens_and_reads_back(name):
    recipe = parse_recipe(name)
    assert recipe.is_fitted
    assert parse_recipe(recipe.canonical()) == recipe
    described = next(entry for entry in describe_recipes() if entry["preset"] == name)
    assert parse_recipe({"preset": name, **described["options"]}) == recipe


def test_what_is_canonical_has_all_defaults_and_one_digest():
    recipe = parse_recipe(PIXELS)
    assert recipe.canonical() == {
        "format": "gramserve.preprocessing/1",
        "steps": [
            {"type": "scale", "factor": 1.0},
            {"type": "standardize", "per": "channel", "eps": 0.0},
        ],
    }
    assert recipe.digest() == RECIPE_DIGEST
    assert derived_address(recipe, A, B, "float32") == DERIVED_DIGEST
    assert fit_address(recipe, B) == FIT_DIGEST


def test_everything_that_decides_the_result_is_in_its_digest():
    recipe, other = parse_recipe(PIXELS), parse_recipe("shankar2020")
    names = {
        derived_address(recipe, A, A, "float32"),
        derived_address(recipe, A, B, "float32"),
        derived_address(recipe, B, B, "float32"),
        derived_address(recipe, A, A, "float64"),
        derived_address(recipe, A, None, "float32"),
        derived_address(other, A, A, "float32"),
    }
    assert len(names) == 6


def test_only_some_steps_are_fitted():
    assert not parse_recipe({"steps": [{"type": "center"}, {"type": "normalize"}]}).is_fitted
    assert parse_recipe(PIXELS).is_fitted


def test_all_faults_are_told_at_once_with_the_nearest_name():
    steps = [
        {"type": "centre"},
        {"type": "zca", "regularisation": 1},
        {"type": "scale", "factor": 0},
        {"type": "scale", "factor": float("inf")},
        {"type": "normalize", "norm": "units", "eps": -1},
        "zca",
        {},
        {"type": "zca", "regularization": "much"},
    ]
    with pytest.raises(SpecError) as caught:
        parse_recipe({"steps": steps})
    assert not isinstance(caught.value, UnknownLayerError)
    assert places(caught) == [
        "steps[0]",
        "steps[1].regularisation",
        "steps[2].factor",
        "steps[3].factor",
        "steps[4].norm",
        "steps[4].eps",
        "steps[5]",
        "steps[6]",
        "steps[7].regularization",
    ]
    for said in (
        "unknown step type 'centre'; did you mean 'center'?",
        "did you mean 'regularization'?",
        "every item would become zero",
        "'units' is not known; did you mean 'unit'?",
        'must be a step such as {"type": "scale"}',
        'a step is written {"type": "scale"}',
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("shankar", "did you mean 'shankar2020'"),
        ({"preset": "shankar2020", "reg": 1}, "reg: unknown key"),
        ({"steps": []}, "must not be empty"),
        ({}, "steps: is required"),
        ({"steps": [{"type": "center"}], "format": "gramserve.preprocessing/2"}, "format"),
        (7, "got int"),
        ({"preset": ["shankar2020"]}, "unknown recipe"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe, said):
    with pytest.raises(SpecError, match="recipe") as caught:
        parse_recipe(recipe)
    assert said in str(caught.value)


def test_a_request_reports_its_own_faults_and_those_of_its_recipe():
    with pytest.raises(SpecError) as caught:
        parse_preprocess(
            {
                "dataset": "x",
                "dtype": "float16",
                "fitt": A,
                "name": "n" * 201,
                "recipe": {"steps": [{"type": "centre"}]},
            }
        )
    assert sorted(places(caught)) == ["dataset", "dtype", "fitt", "name", "recipe.steps[0]"]
    with pytest.raises(SpecError, match="recipe: is required"):
        parse_preprocess({"dataset": A})
    request, recipe = parse_preprocess({"dataset": A, "recipe": "shankar2020"})
    assert (request.fit, request.dtype, recipe.is_fitted) == (None, "float32", True)
