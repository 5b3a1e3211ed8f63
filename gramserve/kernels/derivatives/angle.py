"""Duals of homogeneous activations, ``n^a J(c)``, and their derivatives in ``S``, ``q``, ``q'``.

``n = sqrt(q q')`` and ``c = S / n`` as in :mod:`gramserve.kernels.moments`. Where the angle is 0
or pi, second derivatives of the rectifiers' ``J`` are infinite, but what they are multiplied with
in the end, the gradients of ``c``, vanishes faster: ``c`` is at its extremum there. The limit of
the product is 0, so infinite terms count as 0 and whether a limit exists at all is decided by
:attr:`AngularDual.exponent`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf, perm, pi

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.derivatives.jet import Jet, build

Array = NDArray[np.float64]

_PARALLEL = 5 * np.finfo(np.float64).eps
"""Cosines nearer to 1 or -1 than this count as 1 or -1: they differ by rounding."""


@dataclass(frozen=True)
class Angle:
    """Cosines and what follows from them."""

    cosine: Array
    """``c``; 1 or -1 exactly where vectors are parallel."""

    @cached_property
    def parallel(self) -> NDArray[np.bool_]:
        """Where the angle is 0 or pi."""
        found: NDArray[np.bool_] = np.abs(self.cosine) == 1
        return found

    @cached_property
    def sine(self) -> Array:
        """``sin theta``."""
        # Not 1 - c^2, which would round c^2 before it cancels.
        return np.sqrt((1 - self.cosine) * (1 + self.cosine))

    @cached_property
    def theta(self) -> Array:
        """``theta`` in [0, pi]."""
        return np.arctan2(self.sine, self.cosine)

    @cached_property
    def cosecant(self) -> Array:
        """``1 / sin theta``, 0 where it is infinite."""
        zeros = np.zeros_like(self.sine)
        return np.divide(1.0, self.sine, out=zeros, where=~self.parallel)


@dataclass(frozen=True)
class Pairs:
    """Covariances and variances of pairs, at the input of an activation."""

    covariance: Array
    """``S``, (n, m)."""
    q: Array
    """``q``, (n, 1)."""
    p: Array
    """``q'``, (1, m)."""

    @cached_property
    def norm(self) -> Array:
        """``n = sqrt(q q')``, (n, m)."""
        return np.sqrt(self.q * self.p)

    @cached_property
    def angle(self) -> Angle:
        """The angle; pi/2 where ``n = 0``."""
        zeros = np.zeros_like(self.covariance)
        cosine = np.divide(self.covariance, self.norm, out=zeros, where=self.norm > 0)
        np.clip(cosine, -1, 1, out=cosine)
        parallel = np.abs(cosine) >= 1 - _PARALLEL
        cosine[parallel] = np.sign(cosine[parallel])
        return Angle(cosine)


Angular = Callable[[Angle, int], Array]
"""``J``, or its derivative of the order given (up to 3), at angles."""


@dataclass(frozen=True)
class AngularDual:
    """``n^a J(c)``, of an activation that is homogeneous, or the derivative dual of one."""

    degree: float
    """``a``; one less where the layer projects."""
    angular: Angular
    """``J``."""
    exponent: float = inf
    """The lowest power of ``1 - |c|`` in ``J`` that is not an integer."""
    projected: bool = False
    """Whether the value is 0 where ``n = 0`` in any case."""

    @property
    def slope_exponent(self) -> float:
        """The exponent of the derivative dual; that of steps is 0 throughout."""
        return inf if self.exponent < 1 else self.exponent - 1

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual, ``n^(a - 1) J'(c)``, and its derivatives."""
        if self.exponent < 1:
            return Jet(np.zeros_like(pairs.covariance))
        slope = AngularDual(
            self.degree - 1,
            lambda angle, order: self.angular(angle, order + 1),
            projected=self.projected,
        )
        return slope.expand(pairs, names)

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``, ``q`` and ``q'``.

        Parameters
        ----------
        pairs : Pairs
            ``S``, ``q`` and ``q'``.
        names : tuple of str
            Which derivatives.

        Returns
        -------
        Jet
            All derivatives are 0 where ``n = 0``.
        """
        norm, angle = pairs.norm, pairs.angle
        zero = norm == 0
        # Nothing is divided by 0; what comes of the ones put in is set to 0 below.
        n, row, column = (np.where(part == 0, 1.0, part) for part in (norm, pairs.q, pairs.p))
        power = (norm if self.degree >= 0 else n) ** self.degree
        half, c = self.degree / 2, angle.cosine
        value, slope = self.angular(angle, 0), self.angular(angle, 1)
        radial = half * value - c / 2 * slope
        formulas = {
            "s": lambda: power / n * slope,
            "r": lambda: power * radial / row,
            "t": lambda: power * radial / column,
        }
        if any(len(name) == 2 for name in names):
            bend = self.angular(angle, 2)
            turn = (half - 0.5) * slope - c / 2 * bend
            formulas |= {
                "ss": lambda: power / n**2 * bend,
                "sr": lambda: power / n * turn / row,
                "st": lambda: power / n * turn / column,
                "rr": lambda: power * ((half - 1) * radial - c / 2 * turn) / row**2,
                "rt": lambda: power * (half * radial - c / 2 * turn) / (row * column),
            }
        found = build(power * value, formulas, names)
        if zero.any():
            for part in found.parts.values():
                part[zero] = 0.0
            if self.projected:
                found.value[zero] = 0.0
        return found

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return ``J(1) q^a`` and its first and second derivative, 0 where infinite."""
        scale = self.angular(Angle(np.ones(())), 0)
        degree, zero = self.degree, q == 0
        safe = np.where(zero, 1.0, q)
        value = scale * np.where(zero & self.projected, 0.0, q**degree)
        first = degree * scale * np.where(zero, 0.0, safe ** (degree - 1))
        second = degree * (degree - 1) * scale * np.where(zero, 0.0, safe ** (degree - 2))
        return value, first, second


def arc_cosine(order: int, scale: float) -> Angular:
    """Return ``scale J_m``; ``J_m' = m^2 J_(m - 1)`` and ``J_0' = 1 / sin theta``.

    Parameters
    ----------
    order : int
        ``m``, 0 to 2.
    scale : float
        Of the dual.

    Returns
    -------
    callable
        The function with its derivatives.
    """

    def curve(angle: Angle, times: int) -> Array:
        factor = scale
        for lower in range(order, max(order - times, 0), -1):
            factor *= lower**2
        c, sine, rest = angle.cosine, angle.sine, pi - angle.theta
        value: Array
        match order - times:
            case 2:
                value = 3 * sine * c + rest * (1 + 2 * c * c)
            case 1:
                value = sine + rest * c
            case 0:
                value = rest
            case below:
                value = _singular(angle, -below)
        return factor * value

    return curve


def piecewise_linear(bend: float, mean: float) -> Angular:
    """Return ``bend (sin theta - theta c) + mean c``.

    Parameters
    ----------
    bend, mean : float
        ``(a - b)^2 / (2 pi)`` and ``(a^2 + b^2) / 2`` of ``a min(z, 0) + b max(z, 0)``.

    Returns
    -------
    callable
        The function with its derivatives.
    """

    def curve(angle: Angle, times: int) -> Array:
        if times == 0:
            return bend * (angle.sine - angle.theta * angle.cosine) + mean * angle.cosine
        if times == 1:
            return mean - bend * angle.theta
        return bend * _singular(angle, times - 1)

    return curve


def _singular(angle: Angle, order: int) -> Array:
    """Return a derivative of ``pi - theta`` in c: ``1 / sin theta``, ``c / sin^3 theta``."""
    return angle.cosecant if order == 1 else angle.cosine * angle.cosecant**3


def exponential(gamma: float, shift: float) -> Angular:
    """Return ``exp(gamma (c + shift))``.

    Parameters
    ----------
    gamma, shift : float
        Of the layer.

    Returns
    -------
    callable
        The function with its derivatives.
    """

    def curve(angle: Angle, times: int) -> Array:
        return gamma**times * np.exp(gamma * (angle.cosine + shift))

    return curve


def monomial(degree: int) -> Angular:
    """Return ``c^degree``.

    Parameters
    ----------
    degree : int
        Not negative.

    Returns
    -------
    callable
        The function with its derivatives.
    """

    def curve(angle: Angle, times: int) -> Array:
        if times > degree:
            return np.zeros_like(angle.cosine)
        return float(perm(degree, times)) * angle.cosine ** (degree - times)

    return curve
