"""Field types shared by the layers: whole numbers, reals and one-per-axis settings."""

import operator
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gramserve.spec.names import nearest

_LARGEST = 2**31 - 1
_PADDINGS = ("same", "valid", "circular")


def _whole(value: Any) -> int:
    """Accept anything that *is* a whole number: 3, 3.0, a NumPy integer; not True, not "3"."""
    if isinstance(value, bool | str | bytes):
        msg = f"must be a whole number, got {value!r}"
        raise ValueError(msg)
    if isinstance(value, float):
        if not value.is_integer():
            msg = f"must be a whole number, got {value!r}"
            raise ValueError(msg)
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        msg = f"must be a whole number, got {value!r}"
        raise ValueError(msg) from None
    if abs(number) > _LARGEST:
        msg = f"must be at most {_LARGEST}, got {number}"
        raise ValueError(msg)
    return number


def _real(value: Any) -> float:
    """Accept any real number, but neither True nor "1.5"."""
    if isinstance(value, bool | str | bytes):
        msg = f"must be a number, got {value!r}"
        raise ValueError(msg)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        msg = f"must be a number, got {value!r}"
        raise ValueError(msg) from None


def _sequence(value: Any) -> list[Any] | None:
    """Return the entries of a list, tuple or one-dimensional array; None for anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist") and hasattr(value, "ndim") and value.ndim > 0:
        return list(value.tolist())
    return None


def _positive(value: Any) -> int:
    number = _whole(value)
    if number < 1:
        msg = f"must be at least 1, got {number}"
        raise ValueError(msg)
    return number


def _per_axis(value: Any) -> int | tuple[int, ...]:
    entries = _sequence(value)
    if entries is None:
        return _positive(value)
    if not 1 <= len(entries) <= 2:
        msg = f"must be one number or one per spatial axis (1 or 2), got {len(entries)}"
        raise ValueError(msg)
    return tuple(_positive(entry) for entry in entries)


def _optional_per_axis(value: Any) -> int | tuple[int, ...] | None:
    return None if value is None else _per_axis(value)


def _weights(value: Any) -> float | tuple[float, ...]:
    entries = _sequence(value)
    numbers = [_real(entry) for entry in ([value] if entries is None else entries)]
    if not numbers:
        msg = "must be a number, or one for each channel, got an empty list"
        raise ValueError(msg)
    for number in numbers:
        if not 0 <= number < inf:
            msg = f"must be at least 0 and finite, got {number:g}"
            raise ValueError(msg)
    return numbers[0] if entries is None else tuple(numbers)


def non_empty(value: Any) -> Any:
    """Refuse an empty list before its entries are read, and leave anything else alone."""
    if _sequence(value) == []:
        msg = "must not be empty"
        raise ValueError(msg)
    return value


def _pairs(value: Any) -> Any:
    """Turn explicit padding into a tuple of (low, high) pairs."""
    entries = _sequence(value)
    if entries is None:
        if value not in _PADDINGS:
            msg = f"{value!r} is not known{nearest(value, _PADDINGS)}, or one pair per axis"
            raise ValueError(msg)
        return value
    form = "padding must be one pair [low, high] per spatial axis, such as [[1, 1], [1, 1]]"
    pairs = []
    for entry in entries:
        pair = _sequence(entry)
        if pair is None or len(pair) != 2:
            msg = f"{form}, got {entry!r}"
            raise ValueError(msg)
        low, high = (_whole(side) for side in pair)
        if low < 0 or high < 0:
            msg = f"padding must not be negative, got {[low, high]}"
            raise ValueError(msg)
        pairs.append((low, high))
    if not 1 <= len(pairs) <= 2:
        msg = f"{form}, got {len(pairs)} pairs"
        raise ValueError(msg)
    return tuple(pairs)


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number; ``3.0`` is 3, because JSON does not tell them apart."""

Count = Annotated[int, BeforeValidator(_positive)]
"""A whole number of at least 1."""

Order = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=64)]
"""Order or degree of an activation, 0 to 64."""

Real = Annotated[float, BeforeValidator(_real), Field(allow_inf_nan=False)]
"""A finite real number."""

NonNegative = Annotated[float, BeforeValidator(_real), Field(ge=0, allow_inf_nan=False)]
"""A finite real number of at least 0."""

Positive = Annotated[float, BeforeValidator(_real), Field(gt=0, allow_inf_nan=False)]
"""A finite real number above 0."""

Weights = Annotated[float | tuple[float, ...], BeforeValidator(_weights)]
"""One finite number of at least 0 for all channels, or one for each."""

PerAxis = Annotated[int | tuple[int, ...], BeforeValidator(_per_axis)]
"""One positive whole number for every spatial axis, or one for all of them."""

OptionalPerAxis = Annotated[int | tuple[int, ...] | None, BeforeValidator(_optional_per_axis)]
"""As :data:`PerAxis`, or None for "the same as the window"."""

Pairs = tuple[tuple[int, int], ...]
"""Explicit padding: (low, high) for every spatial axis."""

ConvPadding = Annotated[
    Literal["same", "valid", "circular"] | Pairs,
    Field(union_mode="left_to_right"),
    BeforeValidator(_pairs),
]
"""Padding of a convolution: a name or explicit pairs."""

PoolPadding = Literal["valid", "same"]
"""Padding of a pool."""
