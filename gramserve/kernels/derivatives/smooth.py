"""Duals that are smooth everywhere, with their derivatives in ``S``, ``q`` and ``q'``.

With ``i`` a number of the layer, ``A = 1 + i q``, ``A' = 1 + i q'`` and
``L^2 = A A' - i^2 S^2``, which is ``1 + i (q + q') + i^2 (q q' - S^2)`` without the large terms
that cancel.
"""

from dataclasses import dataclass
from math import cos, pi

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.derivatives.angle import Pairs
from gramserve.kernels.derivatives.jet import Jet, build
from gramserve.spec import layers

Array = NDArray[np.float64]


def _leg_squared(pairs: Pairs, i: float) -> Array:
    """Return ``L^2``, by the angle: ``q q' - S^2 = (n sin theta)^2``."""
    square = 1 + i * (pairs.q + pairs.p) + (i * pairs.norm * pairs.angle.sine) ** 2
    if i < 0:  # an activation that grows so fast has a dual for small variances only
        exists = (1 + 2 * i * pairs.q > 0) & (1 + 2 * i * pairs.p > 0)
        square = np.where(exists, square, np.nan)
    return square


def _inverse_leg(pairs: Pairs, i: float, power: int, names: tuple[str, ...]) -> Jet:
    """Return ``L^-power``, as a function of ``L^2``."""
    square = _leg_squared(pairs, i)
    base = build(
        square,
        {
            "s": lambda: -2 * i * i * pairs.covariance,
            "r": lambda: i * (1 + i * pairs.p),
            "t": lambda: i * (1 + i * pairs.q),
            "ss": lambda: np.array(-2.0 * i * i),
            "rt": lambda: np.array(i * i),
        },
        names,
    )
    half = -power / 2
    value = square**half
    return base.through(value, half * value / square, half * (half - 1) * value / square**2, names)


@dataclass(frozen=True)
class ErfDual:
    """``scale arcsin(i S / sqrt(A A')) + shift`` with ``scale = 2 a^2 / pi``, ``i = 2 b^2``.

    Williams, "Computing with Infinite Networks", NeurIPS 1996.
    """

    layer: layers.Erf

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``, ``q`` and ``q'``."""
        scale, i = 2 * self.layer.a**2 / pi, 2 * self.layer.b**2
        leg = np.sqrt(_leg_squared(pairs, i))
        row, column, cube = 1 + i * pairs.q, 1 + i * pairs.p, leg**3
        return build(
            scale * np.arctan2(i * pairs.covariance, leg) + self.layer.c**2,
            {
                "s": lambda: scale * i / leg,
                "r": lambda: -scale * i * i * pairs.covariance / (2 * row * leg),
                "t": lambda: -scale * i * i * pairs.covariance / (2 * column * leg),
                "ss": lambda: scale * i**3 * pairs.covariance / cube,
                "sr": lambda: -scale * i * i * column / (2 * cube),
                "st": lambda: -scale * i * i * row / (2 * cube),
                "rr": lambda: (
                    scale
                    * i**3
                    * pairs.covariance
                    * (1 / (row * leg) + column / (2 * cube))
                    / (2 * row)
                ),
                "rt": lambda: scale * i**3 * pairs.covariance / (4 * cube),
            },
            names,
        )

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual, ``scale i / L``."""
        scale, i = 2 * self.layer.a**2 / pi, 2 * self.layer.b**2
        return _inverse_leg(pairs, i, 1, names).affine(scale * i)

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return the dual of a variance, and its first and second derivative."""
        scale, i = 2 * self.layer.a**2 / pi, 2 * self.layer.b**2
        leg, outer = np.sqrt(1 + 2 * i * q), 1 + i * q
        value = scale * np.arctan2(i * q, leg) + self.layer.c**2
        first = scale * i / (outer * leg)
        return value, first, -scale * i * i * (2 + 3 * i * q) / (outer**2 * leg**3)


@dataclass(frozen=True)
class GaussianDual:
    """``a^2 / L`` with ``i = -2 b``; the derivative dual is its derivative in ``S``."""

    layer: layers.Gaussian

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``, ``q`` and ``q'``."""
        i = -2 * self.layer.b
        return _inverse_leg(pairs, i, 1, names).affine(self.layer.a**2)

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual, ``a^2 i^2 S / L^3``."""
        i = -2 * self.layer.b
        linear = build(pairs.covariance, {"s": lambda: np.array(1.0)}, names)
        product = linear.times(_inverse_leg(pairs, i, 3, names), names)
        return product.affine((self.layer.a * i) ** 2)

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return ``a^2 / sqrt(1 + 2 i q)`` and its first and second derivative."""
        i = -2 * self.layer.b
        inner = 1 + 2 * i * q
        value = self.layer.a**2 / np.sqrt(inner)
        return value, -i * value / inner, 3 * i * i * value / inner**2


@dataclass(frozen=True)
class ExponentialDual:
    """``sum_j A_j exp(e_j S - d_j (q + q'))``: sine, cosine, exponential, Gaussian kernel."""

    terms: tuple[tuple[float, float, float], ...]
    """``(A_j, e_j, d_j)``."""

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``, ``q`` and ``q'``."""
        total: Jet | None = None
        for scale, grow, decay in self.terms:
            value = scale * np.exp(grow * pairs.covariance - decay * (pairs.q + pairs.p))
            by = {"s": grow, "r": -decay, "t": -decay}
            parts = {name: value * np.prod([by[letter] for letter in name]) for name in names}
            term = Jet(value, parts)
            total = term if total is None else total + term
        return Jet(np.zeros_like(pairs.covariance)) if total is None else total

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual, which is the derivative in ``S``."""
        slopes = tuple((scale * grow, grow, decay) for scale, grow, decay in self.terms)
        return ExponentialDual(slopes).expand(pairs, names)

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return the dual of a variance, and its first and second derivative."""
        rates = [grow - 2 * decay for _, grow, decay in self.terms]
        values = [term[0] * np.exp(rate * q) for term, rate in zip(self.terms, rates, strict=True)]
        return (
            sum(values, np.zeros_like(q)),
            sum((r * v for r, v in zip(rates, values, strict=True)), np.zeros_like(q)),
            sum((r * r * v for r, v in zip(rates, values, strict=True)), np.zeros_like(q)),
        )


def wave(layer: layers.Sin | layers.Cos) -> ExponentialDual:
    """Return the dual of ``a sin(b z + c)``, or of the cosine."""
    rate, sign = layer.b**2, 1 if isinstance(layer, layers.Cos) else -1
    half = layer.a**2 / 2
    return ExponentialDual(
        ((half, rate, rate / 2), (sign * half * cos(2 * layer.c), -rate, rate / 2))
    )


@dataclass(frozen=True)
class SquareDual:
    """``S^2``; the derivative dual is ``2 S``."""

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``."""
        formulas = {"s": lambda: 2 * pairs.covariance, "ss": lambda: np.array(2.0)}
        return build(pairs.covariance**2, formulas, names)

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual."""
        return build(2 * pairs.covariance, {"s": lambda: np.array(2.0)}, names)

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return ``q^2`` and its first and second derivative."""
        return q * q, 2 * q, np.full_like(q, 2.0)
