"""The recursion over layers that every dense engine walks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from gramserve.arrays import Array, namespace_of
from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.convolution import convolve
from gramserve.kernels.duals import (
    DUALS,
    HIGHEST_ARC_COSINE,
    Moments,
    evaluate_dual,
    needs_variances,
)
from gramserve.kernels.pooling import pool, read_out
from gramserve.spec import KernelSpec, input_positions, layers
from gramserve.spec.shapes import Positions, positions_of

_POOLS = (layers.AvgPool, layers.SumPool, layers.CknPool)
_READOUTS = (layers.GlobalAvgPool, layers.GlobalSumPool, layers.Flatten)
_RUNS: tuple[type[layers.LayerModel], ...] = (
    *DUALS, *_POOLS, *_READOUTS, layers.Conv, layers.Dense, layers.Identity, layers.Linear,
    layers.Residual, layers.Concat,
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """What the recursion carries from layer to layer, for a batch of pairs."""

    covariance: Array
    """``S``, (*batch, *P, *P')."""
    tangent: Array | None
    """``T``, the same shape; None when the NTK is not asked for."""
    positions: Positions
    """``P``."""

    @classmethod
    def initial(cls, covariance: Array, positions: Positions, ntk: bool) -> "State":
        """Return the state of the items themselves: nothing has trained, so ``T = 0``."""
        tangent = namespace_of(covariance).zeros_like(covariance) if ntk else None
        return cls(covariance, tangent, positions)


def find_refused(network: Sequence[layers.Layer], where: str = "layers") -> str | None:
    """Return which layer has no dense formula here, or None when all have.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.
    where : str
        Their place, for the message.

    Returns
    -------
    str or None
        ``"layers[3] (gelu) is not implemented"``.
    """
    for index, layer in enumerate(network):
        here = f"{where}[{index}]"
        if not isinstance(layer, _RUNS):
            return f"{here} ({layer.type}) is not implemented yet"
        if isinstance(layer, layers.ArcCosine) and layer.order > HIGHEST_ARC_COSINE:
            return (
                f"{here} (arc_cosine) of order {layer.order} is not implemented yet, only orders "
                f"0 to {HIGHEST_ARC_COSINE}"
            )
        if isinstance(layer, layers.Residual | layers.Concat):
            for number, branch in enumerate(layer.branches):
                found = find_refused(branch, f"{here}.branches[{number}]")
                if found:
                    return found
    return None


def variance_positions(
    network: Sequence[layers.Layer], positions: Positions
) -> tuple[Positions, ...]:
    """Return the positions at which variances are needed, one entry for each such layer.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.
    positions : tuple of int
        Positions before the first.

    Returns
    -------
    tuple of tuple of int
        In the order in which the recursion reaches the layers.
    """
    found: list[Positions] = []
    for layer in network:
        if isinstance(layer, layers.Residual | layers.Concat):
            for branch in layer.branches:
                found.extend(variance_positions(branch, positions))
        elif needs_variances(layer):
            found.append(positions)
        positions = positions_of(layer, positions)
    return tuple(found)


def input_covariance(spec: KernelSpec, rows: Array, columns: Array, *, paired: bool) -> Array:
    """Return ``S0[p, p'] = sum_c x[p, c] x'[p', c]``, divided by C for channels "mean".

    Parameters
    ----------
    spec : KernelSpec
        Its input decides the scale.
    rows, columns : array, (n, *P, C) and (m, *P, C)
        The items.
    paired : bool
        Item i with item i only, instead of all pairs.

    Returns
    -------
    array, (n, m, *P, *P) or (n, *P, *P)
        The covariance of the items.
    """
    xp = namespace_of(rows)
    positions = input_positions(spec, rows.shape[1:])
    count, channels = prod(positions), rows.shape[-1]
    left, right = (part.reshape(len(part), count, channels) for part in (rows, columns))
    if paired:
        product = xp.matmul(left, right.transpose(0, 2, 1))
        batch: tuple[int, ...] = (len(left),)
    else:
        flat = left.reshape(-1, channels) @ right.reshape(-1, channels).T
        product = flat.reshape(len(left), count, len(right), count).transpose(0, 2, 1, 3)
        batch = (len(left), len(right))
    covariance = xp.ascontiguousarray(product).reshape(*batch, *positions, *positions)
    if spec.input.channels == "mean":
        covariance /= channels
    return covariance


class Variances:
    """Where the recursion takes variances from: known ones, or the covariance's own diagonal."""

    def __init__(self, provide: Callable[[Array, Positions], tuple[Array, Array, Any]]) -> None:
        self._provide = provide

    def moments(self, covariance: Array, positions: Positions) -> Moments:
        """Return the moments at a layer's input, with the covariance made exact on ``x is x'``."""
        rows, columns, same = self._provide(covariance, positions)
        return Moments(covariance, rows, columns, same)

    @classmethod
    def recording(cls, into: list[Array]) -> "Variances":
        """Read the diagonal of every state of items paired with themselves, and keep it.

        Parameters
        ----------
        into : list
            Receives ``q``, (b, *P), of every layer that needs variances.
        """

        def provide(covariance: Array, positions: Positions) -> tuple[Array, Array, Any]:
            xp = namespace_of(covariance)
            axes, count = len(positions), prod(positions)
            flat = covariance.reshape(len(covariance), count, count)
            diagonal = xp.diagonal(flat, axis1=1, axis2=2).copy()
            into.append(diagonal.reshape(len(covariance), *positions))
            points = xp.arange(count)
            grid = xp.unravel_index(points, positions) if axes else ()
            same = (slice(None), *grid, *grid) if axes else (slice(None),)
            return (
                diagonal.reshape(-1, *positions, *(1,) * axes),
                diagonal.reshape(-1, *(1,) * axes, *positions),
                same,
            )

        return cls(provide)

    @classmethod
    def known(
        cls,
        rows: Array,
        columns: Array,
        shapes: Sequence[Positions],
        same_pairs: tuple[Array, Array],
    ) -> "Variances":
        """Hand out stored variances layer by layer.

        Parameters
        ----------
        rows, columns : array, (n, V) and (m, V)
            Variances of all layers, one after the other.
        shapes : sequence of tuple of int
            Positions of each of these layers.
        same_pairs : (array of int, array of int)
            Row and column of the pairs that are the same item.
        """
        parts = _split(rows, columns, shapes)

        def provide(covariance: Array, positions: Positions) -> tuple[Array, Array, Any]:
            xp = namespace_of(covariance)
            mine, yours = next(parts)
            axes = len(positions)
            same = None
            if len(same_pairs[0]):
                left, right = (xp.asarray(index)[:, None] for index in same_pairs)
                points = xp.arange(prod(positions))
                grid = xp.unravel_index(points, positions) if axes else ()
                places = tuple(axis[None] for axis in grid)
                same = (left, right, *places, *places)
                # Rounding of S differs from that of q; on x is x', p = p' they are one number.
                covariance[same] = mine[(left, *places)]
            return (
                mine.reshape(len(mine), 1, *positions, *(1,) * axes),
                yours.reshape(1, len(yours), *(1,) * axes, *positions),
                same,
            )

        return cls(provide)


def _split(
    rows: Array, columns: Array, shapes: Sequence[Positions]
) -> Iterator[tuple[Array, Array]]:
    start = 0
    for shape in shapes:
        stop = start + prod(shape)
        yield (
            rows[:, start:stop].reshape(-1, *shape),
            columns[:, start:stop].reshape(-1, *shape),
        )
        start = stop


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

    def run(self, network: Sequence[layers.Layer], state: State, where: str = "layers") -> State:
        """Return the state after all layers.

        Parameters
        ----------
        network : sequence of Layer
            The layers.
        state : State
            Before the first; its arrays may be overwritten.
        where : str
            Place of the layers in the spec, for errors.

        Returns
        -------
        State
            After the last.

        Raises
        ------
        NonFiniteKernelError
            When watching and a layer's result is not finite.
        """
        for index, layer in enumerate(network):
            here = f"{where}[{index}]"
            state = self._step(layer, state, here)
            if self._watch:
                _require_finite(state, f"{here} ({layer.type})")
        return state

    def _step(self, layer: layers.Layer, state: State, where: str) -> State:
        after = positions_of(layer, state.positions)
        if isinstance(layer, layers.Residual | layers.Concat):
            return self._branches(layer, state, where, after)
        if isinstance(layer, layers.Conv | layers.Dense):
            return self._affine(layer, state, after)
        if isinstance(layer, _POOLS):
            covariance, tangent = self._both(state, lambda s: pool(s, layer, state.positions))
        elif isinstance(layer, _READOUTS):
            covariance, tangent = self._both(state, lambda s: read_out(s, layer, state.positions))
        elif isinstance(layer, layers.Linear):
            covariance, tangent = self._both(state, lambda s: s * layer.factor)
        elif isinstance(layer, layers.Identity):
            return state
        else:
            return self._activation(layer, state)
        return State(covariance, tangent, after)

    @staticmethod
    def _both(state: State, step: Callable[[Array], Array]) -> tuple[Array, Array | None]:
        return step(state.covariance), None if state.tangent is None else step(state.tangent)

    def _activation(self, layer: layers.Layer, state: State) -> State:
        if needs_variances(layer):
            moments = self._variances.moments(state.covariance, state.positions)
        else:
            moments = Moments(state.covariance, state.covariance, state.covariance)
        covariance, slope = evaluate_dual(layer, moments, slope=self.ntk)
        tangent = state.tangent
        if tangent is not None and slope is not None:
            tangent = tangent * slope
        return State(covariance, tangent, state.positions)

    def _affine(self, layer: layers.Conv | layers.Dense, state: State, after: Positions) -> State:
        def weigh(array: Array) -> Array:
            if isinstance(layer, layers.Conv):
                array = convolve(array, layer, state.positions)
            return array * layer.w_std**2 if layer.w_std != 1 else array

        covariance, tangent = self._both(state, weigh)
        if layer.b_std:
            covariance = covariance + layer.b_std**2
        if tangent is not None and layer.trainable:
            tangent = tangent + covariance
        return State(covariance, tangent, after)

    def _branches(
        self, layer: layers.Residual | layers.Concat, state: State, where: str, after: Positions
    ) -> State:
        scale = 1 / len(layer.branches) if isinstance(layer, layers.Concat) else 1.0
        covariance: Array | None = None
        tangent: Array | None = None
        for number, branch in enumerate(layer.branches):
            # Layers may write into their input; every branch gets its own.
            start = State(
                state.covariance.copy(),
                None if state.tangent is None else state.tangent.copy(),
                state.positions,
            )
            end = self.run(branch, start, f"{where}.branches[{number}]")
            covariance = end.covariance if covariance is None else covariance + end.covariance
            if end.tangent is not None:
                tangent = end.tangent if tangent is None else tangent + end.tangent
        if covariance is None:
            return state
        return State(covariance * scale, None if tangent is None else tangent * scale, after)


def _require_finite(state: State, label: str) -> None:
    xp = namespace_of(state.covariance)
    for array in (state.covariance, state.tangent):
        if array is not None and not xp.isfinite(array).all():
            bad = xp.argwhere(~xp.isfinite(array))[0]
            raise NonFiniteKernelError(
                f"{label} is not finite", layer=label, pair=[int(bad[0]), int(bad[1])]
            )
