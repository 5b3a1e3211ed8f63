"""Recipes fitted on a data set."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.machine import physical_memory_bytes
from gramserve.preprocessing.fitted import FittedRecipe
from gramserve.preprocessing.moments import Moments, SecondMoments
from gramserve.preprocessing.runs import ItemSource, checked_items, runs_of
from gramserve.preprocessing.steps import Constants, apply_steps, check_item_shape
from gramserve.preprocessing.whitening import check_matrix_fits, whitening_matrix
from gramserve.spec.preprocessing import PreprocessingRecipe, Standardize, Step, Zca, parse_recipe

Before = Sequence[tuple[Step, Constants]]


def fit_recipe(
    items: ArrayLike | ItemSource,
    recipe: str | Mapping[str, Any] | PreprocessingRecipe,
    *,
    memory_bytes: int | None = None,
) -> FittedRecipe:
    """Fit the steps of a recipe, one after the other, each on what those before it leave.

    Parameters
    ----------
    items : array_like or ItemSource, (n, ...)
        The data set that decides means, variances and moments: training images. Read in runs,
        once or twice for every step that is fitted.
    recipe : str, mapping or PreprocessingRecipe
        The name of a recipe, a name with options, or steps.
    memory_bytes : int, optional
        Temporary memory allowed to the matrices of ``zca``; a quarter of the machine's when not
        given.

    Returns
    -------
    FittedRecipe
        To be applied to these and other items.

    Raises
    ------
    SpecError
        When recipe or items are wrong; all subclasses say what to do.
    MemoryBudgetError
        When items have too many values to be whitened.
    """
    parsed = parse_recipe(recipe)
    source = checked_items(items)
    item_shape = tuple(source.shape[1:])
    check_item_shape(parsed, item_shape)
    check_fits_in_memory(parsed, item_shape, memory_bytes)
    done: list[tuple[Step, Constants]] = []
    for step in parsed.steps:
        done.append((step, fit_step(step, source, done)))
    return FittedRecipe(parsed, item_shape, tuple(constants for _, constants in done))


def check_fits_in_memory(
    recipe: PreprocessingRecipe, item_shape: tuple[int, ...], memory_bytes: int | None = None
) -> None:
    """Refuse a recipe that cannot be fitted in the memory there is, before anything is read.

    Parameters
    ----------
    recipe : PreprocessingRecipe
        The steps.
    item_shape : tuple of int
        Shape of one item.
    memory_bytes : int, optional
        As in :func:`fit_recipe`.

    Raises
    ------
    MemoryBudgetError
        With both numbers and the remedy.
    """
    if any(isinstance(step, Zca) for step in recipe.steps):
        allowed = physical_memory_bytes() // 4 if memory_bytes is None else memory_bytes
        check_matrix_fits(prod(item_shape), allowed)


def fit_step(step: Step, source: ItemSource, before: Before) -> Constants:
    """Return the constants of one step.

    Parameters
    ----------
    step : Step
        Which.
    source : ItemSource, (n, *item_shape)
        The items as they came.
    before : sequence of (Step, mapping of str to ndarray)
        The steps before it, with their constants.

    Returns
    -------
    mapping of str to ndarray
        ``mean`` and ``deviation`` of standardize, ``matrix`` and perhaps ``mean`` of zca;
        nothing for steps that are not fitted.

    Raises
    ------
    InvalidDataError
        When an item is not finite, or whitening cannot be fitted.
    """
    if isinstance(step, Standardize):
        columns = source.shape[-1] if step.per == "channel" else prod(source.shape[1:])
        moments = _moments(source, before, columns)
        deviation = np.sqrt(moments.variance + step.eps)
        return {"mean": moments.mean, "deviation": np.where(deviation > 0, deviation, 1.0)}
    if isinstance(step, Zca):
        columns = prod(source.shape[1:])
        mean = _moments(source, before, columns).mean if step.center else np.zeros(columns)
        second = SecondMoments(mean)
        for run in _runs(source, before):
            second.add(run.reshape(len(run), columns))
        matrix = whitening_matrix(second.take(), step)
        return {"mean": mean, "matrix": matrix} if step.center else {"matrix": matrix}
    return {}


def _moments(source: ItemSource, before: Before, columns: int) -> Moments:
    moments = Moments(columns)
    for run in _runs(source, before):
        moments.add(run.reshape(-1, columns))
    return moments


def _runs(source: ItemSource, before: Before) -> Iterator[NDArray[np.float64]]:
    for start, stop in runs_of(source.shape):
        yield apply_steps(before, source[start:stop], first=start)
