"""Truncated Taylor series: a value with some of its first and second derivatives.

Derivatives are written by letters. ``s`` stands for the first of three variables, ``r`` for the
second, ``t`` for the third; ``"sr"`` is the mixed second derivative by the first two. What the
variables are depends on the series: ``x.x'``, ``x.x`` and ``x'.x'`` for a kernel of two vectors,
``S``, ``q`` and ``q'`` for a dual.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from gramserve.arrays import Array

_PLACES = "srt"


def _sorted(first: str, second: str) -> str:
    return "".join(sorted(first + second, key=_PLACES.index))


@dataclass(frozen=True)
class Jet:
    """A value and its derivatives; what is not listed is zero.

    All operations return new series and change nothing. Arrays broadcast against each other.
    """

    value: Array
    """Any shape."""
    parts: Mapping[str, Array] = field(default_factory=dict)
    """Derivatives by name: "s", "r", "t", "ss", "sr", "st", "rr", "rt", "tt"."""

    @property
    def moves(self) -> bool:
        """Whether anything but the value may differ from zero."""
        return bool(self.parts)

    def affine(self, scale: float, shift: float = 0.0) -> Self:
        """Return ``scale f + shift``.

        Parameters
        ----------
        scale, shift : float
            Numbers; with scale 0 nothing moves any more.

        Returns
        -------
        Jet
            The series.
        """
        if scale == 1:
            return type(self)(self.value + shift, self.parts)
        value = self.value * scale + shift
        if scale == 0:
            return type(self)(value)
        return type(self)(value, {name: part * scale for name, part in self.parts.items()})

    def __add__(self, other: "Jet") -> "Jet":
        parts = dict(self.parts)
        for name, part in other.parts.items():
            parts[name] = parts[name] + part if name in parts else part
        return Jet(self.value + other.value, parts)

    def times(self, other: "Jet", names: tuple[str, ...]) -> "Jet":
        """Return the product, by Leibniz' rule.

        Parameters
        ----------
        other : Jet
            The other factor.
        names : tuple of str
            Which derivatives to return.

        Returns
        -------
        Jet
            ``f_u g + f g_u`` and ``f_uv g + f_u g_v + f_v g_u + f g_uv``.
        """
        total = _Sum()
        for name in names:
            total.add_product(name, self.parts.get(name), other.value)
            total.add_product(name, self.value, other.parts.get(name))
            if len(name) == 2:
                for first, second in ((name[0], name[1]), (name[1], name[0])):
                    total.add_product(name, self.parts.get(first), other.parts.get(second))
        return Jet(self.value * other.value, total.parts)

    def through(
        self, value: Array, first: Array, second: Array | None, names: tuple[str, ...]
    ) -> "Jet":
        """Return ``g(f)`` of a function of one variable.

        Parameters
        ----------
        value, first, second : array
            ``g``, ``g'`` and ``g''`` at the value; the last may be None without second
            derivatives.
        names : tuple of str
            Which derivatives to return.

        Returns
        -------
        Jet
            ``g' f_u`` and ``g' f_uv + g'' f_u f_v``.
        """
        total = _Sum()
        for name in names:
            total.add_product(name, first, self.parts.get(name))
            if len(name) == 2 and second is not None and name[0] in self.parts:
                total.add_product(name, second * self.parts[name[0]], self.parts.get(name[1]))
        return Jet(value, total.parts)


class _Sum:
    """Sums of derivatives by name."""

    def __init__(self) -> None:
        self.parts: dict[str, Array] = {}

    def add_product(self, name: str, left: Array | None, right: Array | None) -> None:
        """Add a product to a derivative; None stands for zero."""
        if left is not None and right is not None:
            part = left * right
            self.parts[name] = self.parts[name] + part if name in self.parts else part


def compose(outer: Jet, inner: Mapping[str, Jet], names: tuple[str, ...]) -> Jet:
    """Return ``f(z_s, z_r, z_t)`` by the chain rule.

    ``f_u = sum_z f_z z_u`` and ``f_uv = sum_z f_z z_uv + sum_zw f_zw z_u w_v``

    Parameters
    ----------
    outer : Jet
        ``f`` as a function of three variables.
    inner : mapping of Jet
        The three variables by letter, as functions of others.
    names : tuple of str
        Which derivatives to return.

    Returns
    -------
    Jet
        Those of them that are not zero throughout.
    """
    total = _Sum()
    for name in names:
        for letter, variable in inner.items():
            total.add_product(name, outer.parts.get(letter), variable.parts.get(name))
            if len(name) == 1 or name[0] not in variable.parts:
                continue
            for other, second in inner.items():
                mixed = outer.parts.get(_sorted(letter, other))
                if mixed is not None and name[1] in second.parts:
                    slope = variable.parts[name[0]] * second.parts[name[1]]
                    total.add_product(name, mixed, slope)
    return Jet(outer.value, total.parts)


Build = Callable[[], Array]


def build(value: Array, formulas: Mapping[str, Build], names: tuple[str, ...]) -> Jet:
    """Return a series whose derivatives are worked out only where they are asked for.

    Parameters
    ----------
    value : array
        The value.
    formulas : mapping of callable
        Derivatives by name; what has no formula is zero.
    names : tuple of str
        Which derivatives are wanted.

    Returns
    -------
    Jet
        The series.
    """
    return Jet(value, {name: formulas[name]() for name in names if name in formulas})
