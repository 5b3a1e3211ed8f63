"""From derivatives in ``x.x'``, ``x.x`` and ``x'.x'`` to those in the vectors.

``s``, ``r`` and ``t`` are these numbers; ``k_sr`` and so on the derivatives in them. ::

    dk/dx           k_s x' + 2 k_r x
    dk/dx'          k_s x + 2 k_t x'
    d2k/dx dx'^T    k_s I + x' (k_ss x + 2 k_st x')^T + 2 x (k_sr x + 2 k_rt x')^T
    d2k/dx dx^T     2 k_r I + x' (k_ss x' + 2 k_sr x)^T + 2 x (k_sr x' + 2 k_rr x)^T
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.derivatives.jet import Jet
from gramserve.spec.derivative import Derivative, derivative_shape

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """One direction for every item that a kernel is differentiated by."""

    rows: Array | None = None
    """u, (n, D); None for "dx2"."""
    columns: Array | None = None
    """u', (m, D); None for "dx" and "dxdx"."""

    def of_rows(self, run: slice) -> Self:
        """Return those of some row items and of all column items."""
        return type(self)(None if self.rows is None else self.rows[run], self.columns)


@dataclass(frozen=True)
class Expansion:
    """The derivative of a kernel as a few numbers for each pair.

    Parameters
    ----------
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Which.
    kernel : Jet, (n, m)
        The kernel with its derivatives in ``x.x'``, ``x.x`` and ``x'.x'``.
    rows, columns : ndarray, (n, D) and (m, D)
        x and x'.
    """

    derivative: Derivative
    kernel: Jet
    rows: Array
    columns: Array

    def _part(self, name: str) -> Array:
        part = self.kernel.parts.get(name)
        shape = (len(self.rows), len(self.columns))
        return np.zeros(shape) if part is None else np.broadcast_to(part, shape)

    def full(self) -> Array:
        """Return every component.

        Returns
        -------
        ndarray, (n, m, D) or (n, m, D, D)
            The last axis of second derivatives belongs to what is named last. Temporary memory:
            about 6 n m D numbers.
        """
        shape = derivative_shape(
            self.derivative, len(self.rows), len(self.columns), self.rows.shape[1]
        )
        x, y = self.rows[:, None], self.columns[None]
        part = {name: self._part(name)[..., None] for name in self.kernel.parts}
        for name in ("s", "r", "t", "ss", "sr", "st", "rr", "rt"):
            part.setdefault(name, np.zeros((1, 1, 1)))
        if self.derivative == "dx":
            return part["s"] * y + 2 * part["r"] * x
        if self.derivative == "dx2":
            return part["s"] * x + 2 * part["t"] * y
        right = np.empty((*shape[:2], 2, shape[2]))
        if self.derivative == "dxdx2":
            diagonal = self._part("s")
            right[:, :, 0] = part["ss"] * x + 2 * part["st"] * y
            right[:, :, 1] = 2 * (part["sr"] * x + 2 * part["rt"] * y)
        else:
            diagonal = 2 * self._part("r")
            right[:, :, 0] = part["ss"] * y + 2 * part["sr"] * x
            right[:, :, 1] = 2 * (part["sr"] * y + 2 * part["rr"] * x)
        left = np.empty((*shape[:3], 2))
        left[..., 0], left[..., 1] = y, x
        result: Array = np.matmul(left, right)
        components = np.arange(shape[2])
        result[:, :, components, components] += diagonal[..., None]
        return result

    def along(self, directions: Directions) -> Array:
        """Return the derivative along given directions, without ever expanding it.

        Parameters
        ----------
        directions : Directions
            Of the items that are differentiated by.

        Returns
        -------
        ndarray, (n, m)
            ``u . dk/dx``, ``u' . dk/dx'``, ``u (d2k/dx dx'^T) u'`` or ``u (d2k/dx dx^T) u``.
            Temporary memory: some n m numbers.
        """
        part, x, y = self._part, self.rows, self.columns
        result: Array
        if self.derivative == "dx2":
            theirs = _given(directions.columns)
            return part("s") * (x @ theirs.T) + 2 * part("t") * np.sum(theirs * y, axis=1)
        ours = _given(directions.rows)
        own, across = np.sum(ours * x, axis=1)[:, None], ours @ y.T
        match self.derivative:
            case "dx":
                result = part("s") * across + 2 * part("r") * own
            case "dxdx":
                squares = np.sum(ours * ours, axis=1)[:, None]
                result = 2 * part("r") * squares + part("ss") * across**2
                result += 4 * own * (part("sr") * across + part("rr") * own)
            case _:
                theirs = _given(directions.columns)
                back, other = x @ theirs.T, np.sum(theirs * y, axis=1)
                result = part("s") * (ours @ theirs.T)
                result += across * (part("ss") * back + 2 * part("st") * other)
                result += 2 * own * (part("sr") * back + 2 * part("rt") * other)
        return result


def _given(directions: Array | None) -> Array:
    if directions is None:
        msg = "directions are missing of items that the kernel is differentiated by"
        raise ValueError(msg)
    return directions
