"""The recursion over layers that every dense engine walks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from operator import mul
from typing import Self

from gramserve.arrays import Array, namespace_of
from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.convolution import convolve, patch_scale
from gramserve.kernels.diagonals import center, diagonal_of, spread_diagonal
from gramserve.kernels.duals import DUALS, evaluate_dual
from gramserve.kernels.moments import Moments
from gramserve.kernels.pooling import pool, read_out
from gramserve.kernels.variances import Variances
from gramserve.spec import KernelSpec, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages import averages_variances, uses_variances

Affine = layers.Conv | layers.ConvLocal | layers.Dense
"""Layers with weights and biases."""


@dataclass(frozen=True)
class State:
    """What the recursion carries from layer to layer, for a batch of pairs."""

    covariance: Array
    """``S``, (*batch, *P, *P'); (*batch, *P) when diagonal."""
    tangent: Array | None
    """``T``, the same shape; None when not asked for, and while it is 0: nothing trained yet."""
    positions: Positions
    """``P``."""
    is_diagonal: bool = False
    """Whether only ``p = p'`` is held."""

    def diagonal(self) -> Self:
        """Return the entries ``p = p'`` alone, (*batch, *P)."""
        tangent = None if self.tangent is None else diagonal_of(self.tangent, self.positions)
        covariance = diagonal_of(self.covariance, self.positions)
        return type(self)(covariance, tangent, self.positions, is_diagonal=True)


def input_covariance(rows: Array, columns: Array, scale: float, *, paired: bool) -> Array:
    """Return ``S0[p, p'] = scale sum_c f[p, c] f'[p', c]``.

    Parameters
    ----------
    rows, columns : array, (n, *P, F) and (m, *P, F)
        The items' vectors (:func:`gramserve.kernels.inputs.input_vectors`).
    scale : float
        Their factor.
    paired : bool
        Item i with item i only, instead of all pairs.

    Returns
    -------
    array, (n, m, *P, *P) or (n, *P, *P)
        The covariance of the items.
    """
    xp = namespace_of(rows)
    positions, width = rows.shape[1:-1], rows.shape[-1]
    count = prod(positions)
    left, right = (part.reshape(len(part), count, width) for part in (rows, columns))
    if paired:
        product = xp.matmul(left, right.transpose(0, 2, 1))
    elif not positions:
        product = left[:, 0] @ right[:, 0].T
    else:
        product = xp.matmul(left[:, None], right.transpose(0, 2, 1)[None])
    batch = (len(left),) if paired else (len(left), len(right))
    covariance = product.reshape(*batch, *positions, *positions)
    if scale != 1:
        covariance *= scale
    return covariance


class Recursion:
    """One walk of a batch of pairs through the layers.

    Parameters
    ----------
    ntk : bool
        Whether the tangent kernel is carried.
    variances : Variances
        Where ``q`` and ``q'`` come from.
    watch : bool
        Check every layer's result, to name the one that is not finite.
    """

    def __init__(self, *, ntk: bool, variances: Variances, watch: bool = False) -> None:
        self.ntk = ntk
        self._variances = variances
        self._watch = watch

    def run(
        self,
        network: Sequence[layers.Layer],
        state: State,
        where: str = "layers",
        first: int = 0,
    ) -> State:
        """Return the state after all layers.

        Parameters
        ----------
        network : sequence of Layer
            The layers.
        state : State
            Before the first; its arrays may be overwritten.
        where : str
            Place of the layers in the spec, for errors.
        first : int
            Number of the first layer there.

        Returns
        -------
        State
            After the last.

        Raises
        ------
        NonFiniteKernelError
            When watching and a layer's result is not finite.
        """
        for index, layer in enumerate(network, first):
            here = f"{where}[{index}]"
            state = self._step(layer, state, here)
            if self._watch:
                _require_finite(state, here, layer.type)
        return state

    def run_spec(self, spec: KernelSpec, state: State) -> dict[str, State]:
        """Return the states at the ends of a network and of its readouts.

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        state : State
            Of the input; its arrays may be overwritten.

        Returns
        -------
        dict of State
            By the name of the readout; the network itself has none, ``""``.

        Raises
        ------
        NonFiniteKernelError
            When watching and a layer's result is not finite.
        """
        ends: dict[str, State] = {}
        for index in range(len(spec.layers) + 1):
            for number, readout in enumerate(spec.readouts):
                if readout.after == index:
                    start = _apply(state, lambda s: s.copy())
                    where = f"readouts[{number}].layers"
                    ends[readout.name] = self.run(readout.layers, start, where)
            state = self.run(spec.layers[index : index + 1], state, first=index)
        return ends | {"": state}

    def _step(self, layer: layers.Layer, state: State, where: str) -> State:
        if isinstance(layer, layers.Residual | layers.Concat):
            return self._branches(layer, state, where)
        if isinstance(layer, layers.ConvLocal):
            return self._local(layer, state)
        if isinstance(layer, layers.Conv | layers.Dense):
            return self._affine(layer, state)
        if type(layer) in DUALS:
            return self._activation(layer, state)
        return _linear(layer, state)

    def _activation(self, layer: layers.Layer, state: State) -> State:
        _spoil_infinities(state.covariance)
        if averages_variances(layer):
            moments = self._variances.mean_moments(state.covariance, state.positions)
        elif uses_variances(layer):
            moments = self._variances.moments(state.covariance, state.positions)
        else:
            moments = Moments(state.covariance, state.covariance, state.covariance)
        tangent = state.tangent
        covariance, slope = evaluate_dual(layer, moments, slope=tangent is not None)
        if tangent is not None and slope is not None:
            tangent *= slope
        return State(covariance, tangent, state.positions, state.is_diagonal)

    def _local(self, layer: layers.ConvLocal, state: State) -> State:
        """Apply a convolution whose units at different positions share nothing."""
        near = self._affine(layer, state if state.is_diagonal else state.diagonal())
        if state.is_diagonal:
            return near
        spread = partial(spread_diagonal, positions=near.positions)
        tangent = None if near.tangent is None else spread(near.tangent)
        return State(spread(near.covariance), tangent, near.positions)

    def _affine(self, layer: Affine, state: State) -> State:
        """Apply a layer with weights and biases; may change the state's arrays."""
        scale = layer.w_std**2
        if isinstance(layer, layers.Conv | layers.ConvLocal):
            scale *= patch_scale(layer)
            state = _linear(layer, state)
        covariance, tangent = state.covariance, state.tangent
        if scale != 1:
            covariance *= scale
        if layer.b_std:
            covariance += layer.b_std**2
        if tangent is not None and scale != 1:
            tangent *= scale
        if self.ntk and layer.trainable:
            if tangent is None:
                tangent = covariance.copy()
            else:
                tangent += covariance
        return State(covariance, tangent, state.positions, state.is_diagonal)

    def _branches(self, layer: layers.Residual | layers.Concat, state: State, where: str) -> State:
        total: State | None = None
        for number, branch in enumerate(layer.branches):
            # Layers write into their input: every branch gets its own, the last the original.
            is_last = number == len(layer.branches) - 1
            start = state if is_last else _apply(state, lambda s: s.copy())
            end = self.run(branch, start, f"{where}.branches[{number}]")
            total = end if total is None else _add(total, end)
        if total is None:  # a spec has at least one branch
            return state
        if isinstance(layer, layers.Concat):
            scale = 1 / len(layer.branches)
            return _apply(total, partial(mul, scale))
        return total


def _linear(layer: layers.Layer, state: State) -> State:
    """Apply a layer that is one linear map of both kernels."""
    positions, diagonal = state.positions, state.is_diagonal
    step: Callable[[Array], Array]
    match layer:
        case layers.Conv() | layers.ConvLocal():
            step = partial(convolve, layer=layer, positions=positions, diagonal=diagonal)
        case layers.AvgPool() | layers.SumPool() | layers.CknPool():
            step = partial(pool, layer=layer, positions=positions)
        case layers.GlobalAvgPool() | layers.GlobalSumPool() | layers.Flatten():
            step = partial(read_out, layer=layer, positions=positions, diagonal=diagonal)
        case layers.Center():
            step = partial(center, positions=positions)
        case layers.Linear():
            step = partial(mul, layer.factor)
        case _:  # identity
            return state
    return _apply(state, step, layer)


def _apply(
    state: State, step: Callable[[Array], Array], layer: layers.Layer | None = None
) -> State:
    """Return what a linear map makes of both kernels; a layer may change the positions."""
    return State(
        step(state.covariance),
        None if state.tangent is None else step(state.tangent),
        state.positions if layer is None else positions_of(layer, state.positions),
        state.is_diagonal,
    )


def _add(first: State, second: State) -> State:
    """Return the sum of two branches' ends; changes the first."""
    covariance = first.covariance
    covariance += second.covariance
    tangent = first.tangent
    if tangent is None:
        tangent = second.tangent
    elif second.tangent is not None:
        tangent += second.tangent
    return State(covariance, tangent, first.positions, first.is_diagonal)


def _spoil_infinities(covariance: Array) -> None:
    """Turn infinite entries into NaN: a bounded dual would make them look finite again."""
    xp = namespace_of(covariance)
    # A sum costs one pass and no memory; whether it overflowed itself is seen next.
    if not xp.isfinite(covariance.sum()):
        covariance[xp.isinf(covariance)] = xp.nan


def _require_finite(state: State, where: str, kind: str) -> None:
    xp = namespace_of(state.covariance)
    for array in (state.covariance, state.tangent):
        if array is not None and not xp.isfinite(array).all():
            bad = xp.argwhere(~xp.isfinite(array))[0]
            raise NonFiniteKernelError(
                f"{where} ({kind}) is not finite",
                layer=where,
                type=kind,
                pair=[int(bad[0]), int(bad[1])],
            )
