"""The recipe of a preprocessed data set: the steps from items as they came to items as kernels see.

Plain data; :mod:`gramserve.preprocessing` fits and applies them. docs/preprocessing.md has the
formulas.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from gramserve.errors import SpecError
from gramserve.spec.canonical import digest_of
from gramserve.spec.faults import spec_error, summary
from gramserve.spec.job import Digest
from gramserve.spec.numbers import NonNegative, Real, non_empty
from gramserve.spec.recipes import expand_recipe

ResultDtype = Literal["float32", "float64"]
"""What preprocessed items are stored in; they are computed in float64."""

RESULT_DTYPES: tuple[ResultDtype, ...] = get_args(ResultDtype)
"""All of them, the cheapest first."""


def _nonzero(value: float) -> float:
    if value == 0:
        msg = "must not be 0: every item would become zero"
        raise ValueError(msg)
    return value


class Step(BaseModel):
    """What all steps have in common: they are frozen and know no other fields than theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def is_fitted(self) -> bool:
        """Whether the step has constants that come from a data set."""
        return False


class Scale(Step):
    """``x -> factor x``."""

    type: Literal["scale"] = "scale"
    factor: Annotated[Real, AfterValidator(_nonzero)]
    """For bytes as numbers from 0 to 1, ``1 / 255``."""


class Center(Step):
    """Subtract from every item its own mean; one constant value becomes exactly 0."""

    type: Literal["center"] = "center"
    per: Literal["item", "channel"] = "item"
    """One mean for all values of an item, or one for each of its channels."""


class Normalize(Step):
    """Divide every item by its own size, ``sqrt(s + eps)``; zeros stay zeros.

    ``s`` is the sum of the squares of its values ("unit") or their mean ("rms", which behind
    :class:`Center` is the variance).
    """

    type: Literal["normalize"] = "normalize"
    norm: Literal["unit", "rms"] = "unit"
    per: Literal["item", "channel"] = "item"
    eps: NonNegative = 0.0
    """Added under the root, in the square of the items' unit."""


class Standardize(Step):
    """Subtract mean and divide by standard deviation, both of the data set it is fitted on.

    ``(x - m) / sqrt(v + eps)`` with the population variance ``v``; what is constant in the data
    set is divided by ``sqrt(eps)``, or by 1 when ``eps`` is 0.
    """

    type: Literal["standardize"] = "standardize"
    per: Literal["channel", "feature"] = "channel"
    """Statistics over items and positions, or over items alone."""
    eps: NonNegative = 0.0
    """Added under the root."""

    @property
    def is_fitted(self) -> bool:
        """Always: mean and variance are those of a data set."""
        return True


class Zca(Step):
    """Regularised symmetric whitening: ``x -> (x - m) V diag(1 / sqrt(e + r)) V'``.

    ``V diag(e) V'`` is the matrix of second moments ``X' X / n`` of the data set it is fitted
    on, with items as rows of ``X``.
    """

    type: Literal["zca"] = "zca"
    regularization: NonNegative = 1e-4
    """What decides ``r``."""
    mode: Literal["absolute", "relative"] = "absolute"
    """``r`` is the regularization, or the regularization times the mean of ``e``."""
    center: bool = False
    """Whether ``m`` is the mean of the data set, subtracted before the moments too; else 0."""

    @property
    def is_fitted(self) -> bool:
        """Always: the moments are those of a data set."""
        return True


STEP_TYPES: dict[str, type[Step]] = {
    model.model_fields["type"].default: model
    for model in (Scale, Center, Normalize, Standardize, Zca)
}
"""Every step model by its ``type``."""

AnyStep = Annotated[Scale | Center | Normalize | Standardize | Zca, Field(discriminator="type")]
"""Any step, told apart by its ``type``."""


class PreprocessingRecipe(BaseModel):
    """Steps in the order in which they are applied.

    Examples
    --------
    >>> recipe = PreprocessingRecipe(steps=[Scale(factor=1 / 255), Standardize()])
    >>> recipe.is_fitted
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["gramserve.preprocessing/1"] = "gramserve.preprocessing/1"
    steps: Annotated[tuple[AnyStep, ...], BeforeValidator(non_empty)]

    @property
    def is_fitted(self) -> bool:
        """Whether a step has constants that come from a data set."""
        return any(step.is_fitted for step in self.steps)

    def canonical(self) -> dict[str, Any]:
        """Return the recipe as JSON values with all defaults filled in."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return digest_of(self.canonical())


def parse_recipe(recipe: str | Mapping[str, Any] | PreprocessingRecipe) -> PreprocessingRecipe:
    """Read a recipe from its name, a name with options, or its steps.

    Parameters
    ----------
    recipe : str, mapping or PreprocessingRecipe
        ``"shankar2020"``, ``{"preset": "shankar2020", "regularization": 1e-3}``,
        ``{"steps": [...]}``.

    Returns
    -------
    PreprocessingRecipe
        Names are expanded to steps.

    Raises
    ------
    SpecError
        With every fault found and the nearest known name for each unknown one.

    Examples
    --------
    >>> [step.type for step in parse_recipe("shankar2020").steps]
    ['center', 'normalize', 'zca']
    """
    if isinstance(recipe, PreprocessingRecipe):
        return recipe
    if isinstance(recipe, str):
        recipe = {"preset": recipe}
    if not isinstance(recipe, Mapping):
        msg = (
            "preprocessing recipe: must be the name of a recipe, a mapping with steps or a "
            f"PreprocessingRecipe, got {type(recipe).__name__}"
        )
        raise SpecError(msg, errors=[{"loc": "", "message": msg}])
    if "preset" in recipe:
        recipe = expand_recipe(recipe)
    try:
        return PreprocessingRecipe.model_validate(dict(recipe))
    except ValidationError as error:
        raise spec_error(
            error, PreprocessingRecipe, "preprocessing recipe", STEP_TYPES, "step"
        ) from None


def _recipe_json(value: Any) -> Any:
    return value.canonical() if isinstance(value, PreprocessingRecipe) else value


class PreprocessRequest(BaseModel):
    """The body of ``POST /v1/datasets:preprocess``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Digest
    """Digest of the data set whose items are taken."""
    fit: Digest | None = None
    """Digest of the data set that the steps are fitted on; ``dataset`` when None."""
    recipe: Annotated[str | dict[str, Any], BeforeValidator(_recipe_json)]
    """The name of a recipe, a name with options, or steps."""
    dtype: ResultDtype = "float32"
    """What the result is stored in."""
    name: Annotated[str, Field(max_length=200)] | None = None
    """For people."""


def parse_preprocess(body: Mapping[str, Any]) -> tuple[PreprocessRequest, PreprocessingRecipe]:
    """Validate the body of a request and its recipe together, reporting the faults of both.

    Parameters
    ----------
    body : mapping
        The JSON object.

    Returns
    -------
    PreprocessRequest
        The validated body.
    PreprocessingRecipe
        Its recipe, expanded.

    Raises
    ------
    SpecError
        With every fault; places inside the recipe start with ``recipe.``.
    """
    faults: list[dict[str, Any]] = []
    request: PreprocessRequest | None = None
    recipe: PreprocessingRecipe | None = None
    try:
        request = PreprocessRequest.model_validate(body)
    except ValidationError as error:
        faults += [
            fault
            for fault in spec_error(error, PreprocessRequest, "preprocessing").errors
            if not fault["loc"].startswith("recipe") or "recipe" not in body
        ]
    if "recipe" in body:
        try:
            recipe = parse_recipe(body["recipe"])
        except SpecError as error:
            faults += [
                {**fault, "loc": f"recipe.{fault['loc']}".removesuffix(".")}
                for fault in error.errors
            ]
    if faults or request is None or recipe is None:
        raise SpecError(summary(faults, "preprocessing"), errors=faults)
    return request, recipe
