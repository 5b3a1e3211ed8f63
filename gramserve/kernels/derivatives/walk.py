"""The recursion over layers, with derivatives in ``x.x'``, ``x.x`` and ``x'.x'``.

A kernel of vectors is a function of these three numbers alone, and a layer maps ``S``, ``q`` and
``q'`` to new ones, so the chain rule needs a handful of (n, m) arrays however long the vectors are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.derivatives.angle import AngularDual, Pairs
from gramserve.kernels.derivatives.duals import dual_of, linear_factor
from gramserve.kernels.derivatives.jet import Jet, compose
from gramserve.kernels.derivatives.smooth import SquareDual
from gramserve.spec import KernelName, layers
from gramserve.spec.derivative import Derivative, derivative_order

NAMES: dict[Derivative, tuple[str, ...]] = {
    "dx": ("s", "r"),
    "dx2": ("s", "t"),
    "dxdx2": ("s", "r", "t", "ss", "sr", "st", "rt"),
    "dxdx": ("s", "r", "ss", "sr", "rr"),
}
"""The derivatives in ``s = x.x'``, ``r = x.x``, ``t = x'.x'`` that each derivative is made of."""


@dataclass(frozen=True)
class PairState:
    """What the recursion carries from layer to layer."""

    covariance: Jet
    """``S``, (n, m)."""
    rows: Jet
    """``q``, (n, 1)."""
    columns: Jet
    """``q'``, (1, m)."""
    tangent: Jet | None
    """``T``, (n, m); None while it is 0, and where it is not asked for."""
    lost: NDArray[np.bool_]
    """(n, m), where the derivative does not exist."""
    rigid: bool
    """Whether cosines cannot change: numbers (D = 1) without biases are always parallel."""
    degree: float = 1.0
    """``S`` grows like this power of ``|x|`` next to ``x = 0``, as long as it is 0 there."""
    rough: float = inf
    """The lowest of its powers that is not a polynomial; infinite where all are."""


class Walk:
    """One walk of pairs through the layers.

    Parameters
    ----------
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        What is wanted.
    kernel : {"nngp", "ntk"}
        Of which kernel.
    """

    def __init__(self, derivative: Derivative, kernel: KernelName) -> None:
        self._names = NAMES[derivative]
        self._orders = derivative_order(derivative)
        self._ntk = kernel == "ntk"

    def run(
        self, network: Sequence[layers.Layer], state: PairState
    ) -> tuple[Jet, NDArray[np.bool_]]:
        """Return the kernel and where its derivative does not exist.

        Parameters
        ----------
        network : sequence of Layer
            The layers, none of which :func:`check_differentiable` refuses.
        state : PairState
            Of the input.

        Returns
        -------
        kernel : Jet, (n, m)
            With the derivatives of :data:`NAMES`, in ``x.x'``, ``x.x`` and ``x'.x'``.
        lost : ndarray of bool, (n, m)
            Where the limit does not exist or is infinite.
        """
        end = self._layers(network, state)
        end = self._leave_zero(end)
        if not self._ntk:
            return end.covariance, end.lost
        if end.tangent is None:
            return Jet(np.zeros_like(end.covariance.value)), end.lost
        return end.tangent, end.lost

    def _layers(self, network: Sequence[layers.Layer], state: PairState) -> PairState:
        for layer in network:
            factor = linear_factor(layer)
            if factor is not None:
                state = _scale(state, factor)
            elif isinstance(layer, layers.Residual | layers.Concat):
                state = self._branches(layer, state)
            elif isinstance(layer, layers.Dense):
                state = self._dense(layer, state)
            else:
                state = self._activation(layer, state)
        return state

    def _dense(self, layer: layers.Dense, state: PairState) -> PairState:
        if layer.b_std:
            state = replace(self._leave_zero(state), rigid=False)
        state = _scale(state, layer.w_std**2)
        shift = layer.b_std**2
        state = replace(
            state,
            covariance=state.covariance.affine(1, shift),
            rows=state.rows.affine(1, shift),
            columns=state.columns.affine(1, shift),
        )
        if self._ntk and layer.trainable:
            old = state.tangent
            tangent = state.covariance if old is None else old + state.covariance
            state = replace(state, tangent=tangent)
        return state

    def _activation(self, layer: layers.Layer, state: PairState) -> PairState:
        dual = dual_of(layer)
        pairs = Pairs(state.covariance.value, state.rows.value, state.columns.value)
        if isinstance(dual, AngularDual):
            state = self._lose_parallel(dual, pairs, state)
            degree = state.degree * dual.degree
            state = replace(state, degree=degree, rough=degree)
            if dual.degree == 0:  # vectors of zeros cannot be told from others behind it
                state = self._leave_zero(state)
        elif isinstance(dual, SquareDual):
            degree = state.degree
            state = replace(state, degree=2 * degree, rough=degree + state.rough)
        else:
            state = replace(self._leave_zero(state), rigid=False)
        inner = {"s": state.covariance, "r": state.rows, "t": state.columns}
        tangent = state.tangent
        if tangent is not None:
            slope = compose(dual.slope(pairs, self._names), inner, self._names)
            tangent = tangent.times(slope, self._names)
        return replace(
            state,
            covariance=compose(dual.expand(pairs, self._names), inner, self._names),
            rows=state.rows.through(*dual.variance(pairs.q), self._names),
            columns=state.columns.through(*dual.variance(pairs.p), self._names),
            tangent=tangent,
        )

    def _lose_parallel(self, dual: AngularDual, pairs: Pairs, state: PairState) -> PairState:
        """Strike out pairs at angle 0 or pi where the dual is not smooth enough.

        ``1 - |c|`` grows there like the square of the distance, so its power e has as many
        derivatives as are less than ``2 e``.
        """
        exponent = dual.exponent
        if state.tangent is not None:
            exponent = min(exponent, dual.slope_exponent)
        constant = state.rigid or not state.covariance.moves
        if constant or 2 * exponent > sum(self._orders):
            return state
        return replace(state, lost=state.lost | pairs.angle.parallel)

    def _leave_zero(self, state: PairState) -> PairState:
        """Strike out pairs with a vector of zeros where the layers so far are not smooth enough.

        Next to ``x = 0`` they are sums of homogeneous functions, each of which has as many
        derivatives in x as are less than its degree, which are 0. If x' is 0 too, and stays, all
        is 0.
        """
        if state.rough == inf or not state.covariance.moves:
            return state
        in_rows, in_columns = self._orders
        lost = state.lost
        rows, columns = state.rows.value == 0, state.columns.value == 0
        if in_rows and state.rough <= in_rows:
            lost = lost | (rows if in_columns else rows & ~columns)
        if in_columns and state.rough <= in_columns:
            lost = lost | (columns if in_rows else columns & ~rows)
        return replace(state, lost=lost, rough=inf)

    def _branches(self, layer: layers.Residual | layers.Concat, state: PairState) -> PairState:
        first, *rest = (self._layers(branch, state) for branch in layer.branches)
        total = first
        for end in rest:
            total = PairState(
                total.covariance + end.covariance,
                total.rows + end.rows,
                total.columns + end.columns,
                _plus(total.tangent, end.tangent),
                total.lost | end.lost,
                # Sums of different powers turn, so that their cosine changes.
                total.rigid and end.rigid and total.degree == end.degree,
                min(total.degree, end.degree),
                min(total.rough, end.rough),
            )
        if isinstance(layer, layers.Concat):
            return _scale(total, 1 / len(layer.branches))
        return total


def _plus(first: Jet | None, second: Jet | None) -> Jet | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _scale(state: PairState, factor: float) -> PairState:
    """Return a state whose kernels are multiplied by a number."""
    if factor == 1:
        return state
    return replace(
        state,
        covariance=state.covariance.affine(factor),
        rows=state.rows.affine(factor),
        columns=state.columns.affine(factor),
        tangent=None if state.tangent is None else state.tangent.affine(factor),
        # A kernel that is constant has every derivative.
        lost=np.zeros_like(state.lost) if factor == 0 else state.lost,
    )
