"""Second moments of jointly Gaussian pairs, and their norms and angles."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gramserve.arrays import Array, namespace_of

_SMALL = 1e-140
"""Squares of what lies between this and its inverse are normal numbers of float64."""


@dataclass(frozen=True)
class Moments:
    """Covariances and variances at the input of an activation.

    With ``n = sqrt(q q')``, ``c = S / n`` and ``theta`` the angle whose cosine is ``c``; where
    ``n = 0`` the cosine is 0 and the angle pi/2.
    """

    covariance: Array
    """``S``; any shape."""
    row_variance: Array
    """``q``, broadcast against ``S``."""
    column_variance: Array
    """``q'``, broadcast against ``S``."""
    same: Any = None
    """Index of the entries that compare a position with itself: their cosine is exactly 1."""

    @cached_property
    def norm(self) -> Array:
        """``n = sqrt(q q')``, of the shape of ``S``."""
        xp = namespace_of(self.covariance)
        rows, columns = self.row_variance, self.column_variance
        if self._multiplies_safely:
            # One rounding less, and exact where both are equal: angles near 0 and pi need it.
            root = rows * columns
            xp.sqrt(root, out=root)
        else:
            root = xp.sqrt(rows) * xp.sqrt(columns)
        return xp.broadcast_to(root, self.covariance.shape)

    @cached_property
    def _multiplies_safely(self) -> bool:
        """Whether products of variances stay far from both ends of the dtype.

        In float32 they would not for items beyond 1e9, in float64 for polynomials of large ones.
        """
        if self.covariance.dtype.itemsize < 8 or not self.covariance.size:
            return False
        sides = (self.row_variance, self.column_variance)
        if max(side.max() for side in sides) > 1 / _SMALL:
            return False
        xp = namespace_of(self.covariance)
        return all(bool(xp.all((side == 0) | (side > _SMALL))) for side in sides)

    @cached_property
    def has_zeros(self) -> bool:
        """Whether some ``n`` may be 0 (or not a number), found without looking at every entry."""
        xp = namespace_of(self.covariance)
        if not self.covariance.size:
            return False
        rows, columns = xp.sqrt(self.row_variance.min()), xp.sqrt(self.column_variance.min())
        return not bool(rows * columns > 0)

    def over_norm(self, array: Array) -> Array:
        """Return an array divided by ``n``, 0 where ``n = 0``; a new array."""
        xp = namespace_of(array)
        if not self.has_zeros:
            return array / self.norm
        return xp.divide(array, self.norm, out=xp.zeros_like(array), where=self.norm > 0)

    @cached_property
    def cosine(self) -> Array:
        """``c = S / n``, clipped to [-1, 1]; 0 where ``n = 0``."""
        xp = namespace_of(self.covariance)
        cosine = self.over_norm(self.covariance)
        xp.clip(cosine, -1, 1, out=cosine)
        if self.same is not None:
            cosine[self.same] = self.norm[self.same] > 0
        return cosine

    def polar(self) -> tuple[Array, Array]:
        """Return ``sin theta`` and ``theta`` in [0, pi]; new arrays, which the caller may change.

        The angle is taken by ``atan2``: ``arccos`` loses half of the digits near 0.
        """
        xp = namespace_of(self.covariance)
        sine = self.cosine * self.cosine
        xp.subtract(1, sine, out=sine)
        xp.sqrt(sine, out=sine)
        return sine, xp.arctan2(sine, self.cosine)
