"""Named recipes of preprocessing, expanded to steps; the expansion is what is hashed.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020, and its published code.
Nguyen, Chen and Lee, "Dataset Meta-Learning from Kernel Ridge-Regression", ICLR 2021; the
regularisation is that of Lee et al., "Finite Versus Infinite Neural Networks", NeurIPS 2020.
Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning",
AISTATS 2011.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gramserve.errors import SpecError
from gramserve.spec.faults import spec_error
from gramserve.spec.names import nearest
from gramserve.spec.numbers import NonNegative

JsonStep = dict[str, Any]


class RecipeOptions(BaseModel):
    """Options that every named recipe takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str


class ShankarOptions(RecipeOptions):
    """Options of the recipe of "Neural Kernels Without Tangents"."""

    regularization: NonNegative = 1e-4
    """Added to every eigenvalue."""


class NguyenOptions(RecipeOptions):
    """Options of the recipe of "Dataset Meta-Learning from Kernel Ridge-Regression"."""

    regularization: NonNegative = 0.1
    """Added to every eigenvalue, as a fraction of their mean."""


class CoatesOptions(RecipeOptions):
    """Options of the recipe of "An Analysis of Single-Layer Networks"."""

    contrast: NonNegative = 10.0
    """Added to the variance of an item, for pixels from 0 to 255."""
    regularization: NonNegative = 0.1
    """Added to every eigenvalue."""


def _unit_items() -> list[JsonStep]:
    return [{"type": "center"}, {"type": "normalize", "norm": "unit"}]


def _shankar(options: ShankarOptions) -> list[JsonStep]:
    return [*_unit_items(), {"type": "zca", "regularization": options.regularization}]


def _nguyen(options: NguyenOptions) -> list[JsonStep]:
    step = {"type": "zca", "regularization": options.regularization, "mode": "relative"}
    return [*_unit_items(), step]


def _coates(options: CoatesOptions) -> list[JsonStep]:
    return [
        {"type": "center"},
        {"type": "normalize", "norm": "rms", "eps": options.contrast},
        {"type": "zca", "regularization": options.regularization, "center": True},
    ]


RECIPES: dict[str, tuple[type[RecipeOptions], Any]] = {
    "shankar2020": (ShankarOptions, _shankar),
    "nguyen2021": (NguyenOptions, _nguyen),
    "coates2011": (CoatesOptions, _coates),
}
"""Options model and expansion of every named recipe."""


def expand_recipe(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Expand ``{"preset": name, ...options}`` to steps.

    Parameters
    ----------
    preset : mapping
        The name and the options of the recipe.

    Returns
    -------
    dict
        A recipe of plain steps, not yet validated as one.

    Raises
    ------
    SpecError
        When there is no such recipe, naming the nearest, or options are unknown or wrong.
    """
    name = preset["preset"]
    if not isinstance(name, str) or name not in RECIPES:
        message = f"unknown recipe {name!r}{nearest(name, RECIPES)}"
        raise SpecError(
            f"preprocessing recipe: {message}", errors=[{"loc": "preset", "message": message}]
        )
    model, expand = RECIPES[name]
    try:
        options = model.model_validate(dict(preset))
    except ValidationError as error:
        raise spec_error(error, model, f"recipe {name}") from None
    return {"steps": expand(options)}


def describe_recipes() -> Sequence[dict[str, Any]]:
    """Return name and option names with defaults of every named recipe, for help texts."""
    return [
        {
            "preset": name,
            "options": {
                key: field.default for key, field in model.model_fields.items() if key != "preset"
            },
        }
        for name, (model, _) in RECIPES.items()
    ]
