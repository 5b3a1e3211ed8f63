"""Steps applied to runs of items."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import InvalidDataError, ShapeError
from gramserve.spec.preprocessing import (
    Center,
    Normalize,
    PreprocessingRecipe,
    ResultDtype,
    Scale,
    Standardize,
    Step,
    Zca,
)

Constants = Mapping[str, NDArray[np.float64]]
"""What a step has from the data set it was fitted on, by name."""


def check_item_shape(recipe: PreprocessingRecipe, item_shape: tuple[int, ...]) -> None:
    """Refuse items on which a step means nothing.

    Parameters
    ----------
    recipe : PreprocessingRecipe
        The steps.
    item_shape : tuple of int
        Shape of one item.

    Raises
    ------
    ShapeError
        When vectors are to be centred or normalized per channel: a vector has one value in each.
    """
    faults = [
        {
            "loc": f"recipe.steps[{number}].per",
            "message": f'{step.type} per "channel" needs items with positions; those of shape '
            f'{item_shape} have one value per channel: write "per": "item"',
        }
        for number, step in enumerate(recipe.steps)
        if isinstance(step, Center | Normalize) and step.per == "channel" and len(item_shape) == 1
    ]
    if faults:
        raise ShapeError("; ".join(fault["message"] for fault in faults), errors=faults)


def apply_steps(
    steps: Sequence[tuple[Step, Constants]],
    items: NDArray[Any],
    dtype: ResultDtype = "float64",
    first: int = 0,
) -> NDArray[Any]:
    """Apply steps to a run of items, one after the other, in float64.

    Parameters
    ----------
    steps : sequence of (Step, mapping of str to ndarray)
        Each with its constants.
    items : ndarray, (n, *item_shape)
        Few enough to be held in float64 several times.
    dtype : {"float32", "float64"}
        Of the result.
    first : int
        Number of the first item, for messages.

    Returns
    -------
    ndarray, (n, *item_shape)
        New.

    Raises
    ------
    InvalidDataError
        When an item is not finite, or the result is too large; names the first one.
    """
    values = items.astype(np.float64)
    _refuse_non_finite(values, first, "holds NaN or infinity; items must be finite")
    # What overflows is found by its result and said as an error.
    with np.errstate(over="ignore", invalid="ignore"):
        for step, constants in steps:
            values = apply_step(step, constants, values)
        result = values.astype(dtype)
    _refuse_non_finite(result, first, f"is too large for {dtype} after preprocessing")
    return result


def apply_step(step: Step, constants: Constants, items: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply one step to a run of items.

    Parameters
    ----------
    step : Step
        Which.
    constants : mapping of str to ndarray
        As :func:`gramserve.preprocessing.fit.fit_step` returned them; empty for steps that are
        not fitted.
    items : ndarray of float64, (n, *item_shape)
        Left alone.

    Returns
    -------
    ndarray of float64, (n, *item_shape)
        The result.
    """
    match step:
        case Scale():
            return items * step.factor
        case Center():
            return _centred(items, _axes(items, step.per))
        case Normalize():
            return items / _sizes(items, step)
        case Standardize():
            shape = items.shape[-1:] if step.per == "channel" else items.shape[1:]
            mean, deviation = constants["mean"].reshape(shape), constants["deviation"]
            return (items - mean) / deviation.reshape(shape)
        case Zca():
            rows = items.reshape(len(items), -1)
            if step.center:
                rows = rows - constants["mean"]
            white: NDArray[np.float64] = rows @ constants["matrix"]
            return white.reshape(items.shape)
    msg = f"no such step: {step!r}"
    raise TypeError(msg)


def _axes(items: NDArray[Any], per: str) -> tuple[int, ...]:
    """Return the axes that one mean runs over: all of an item, or its positions."""
    return tuple(range(1, items.ndim if per == "item" else items.ndim - 1))


def _centred(items: NDArray[np.float64], axes: tuple[int, ...]) -> NDArray[np.float64]:
    low, high = items.min(axis=axes, keepdims=True), items.max(axis=axes, keepdims=True)
    # The mean of equal numbers may be off by rounding, which a later step would blow up.
    mean = np.where(low == high, low, items.mean(axis=axes, keepdims=True))
    return items - mean


def _sizes(items: NDArray[np.float64], step: Normalize) -> NDArray[np.float64]:
    axes = _axes(items, step.per)
    peak = np.abs(items).max(axis=axes, keepdims=True)
    unit = np.where(peak > 0, peak, 1.0)  # squares of values far from 1 leave float64
    squares = np.square(items / unit)
    total = squares.sum(axis=axes, keepdims=True)
    if step.norm == "rms":
        total /= np.prod([items.shape[axis] for axis in axes])
    size = np.hypot(np.sqrt(total) * unit, np.sqrt(step.eps))
    return np.where(size > 0, size, 1.0)


def _refuse_non_finite(values: NDArray[Any], first: int, what: str) -> None:
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        item = first + int(np.argmin(finite))
        msg = f"item {item} {what}"
        raise InvalidDataError(msg, errors=[{"loc": f"items[{item}]", "message": msg}], item=item)
