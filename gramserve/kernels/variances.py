"""Variances ``q``: which layers need them, and where a walk over the layers takes them from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, namespace_of
from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.diagonals import diagonal_of
from gramserve.kernels.duals.numeric import check_quadrature
from gramserve.kernels.moments import Moments
from gramserve.kernels.precision import remedy
from gramserve.spec import KernelSpec, Precision, input_positions, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages import averages_variances, uses_variances


@dataclass(frozen=True)
class VariancePlace:
    """A layer whose dual needs the variances at its input."""

    layer: str
    """Its place in the spec, ``"layers[3]"``."""
    type: str
    """Its type."""
    model: layers.LayerModel
    """The layer itself."""
    positions: Positions
    """Positions at its input, with one variance at each; none where it needs only their mean."""


def variance_places(
    network: Sequence[layers.Layer],
    positions: Positions,
    where: str = "layers",
    first: int = 0,
) -> tuple[VariancePlace, ...]:
    """Return the layers that need variances, in the order in which a walk reaches them.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.
    positions : tuple of int
        Positions before the first.
    where : str
        Place of the layers in the spec.
    first : int
        Number of the first.

    Returns
    -------
    tuple of VariancePlace
        Branch by branch where there are branches.
    """
    found: list[VariancePlace] = []
    for index, layer in enumerate(network, first):
        here = f"{where}[{index}]"
        if isinstance(layer, layers.Residual | layers.Concat):
            for number, branch in enumerate(layer.branches):
                found.extend(variance_places(branch, positions, f"{here}.branches[{number}]"))
        elif averages_variances(layer):
            found.append(VariancePlace(here, layer.type, layer, ()))
        elif uses_variances(layer):
            found.append(VariancePlace(here, layer.type, layer, positions))
        positions = positions_of(layer, positions)
    return tuple(found)


def spec_variance_places(spec: KernelSpec, item_shape: Sequence[int]) -> tuple[VariancePlace, ...]:
    """Return the layers of a spec that need variances, those of its readouts included.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    tuple of VariancePlace
        In the order of a walk that takes every readout where it branches off.
    """
    found: list[VariancePlace] = []
    positions = input_positions(spec, item_shape)
    for index in range(len(spec.layers) + 1):
        for number, readout in enumerate(spec.readouts):
            if readout.after == index:
                found += variance_places(readout.layers, positions, f"readouts[{number}].layers")
        for layer in spec.layers[index : index + 1]:
            found += variance_places([layer], positions, "layers", index)
            positions = positions_of(layer, positions)
    return tuple(found)


def branches_of(layer: layers.Layer) -> tuple[tuple[layers.Layer, ...], ...]:
    """Return the branches of a layer; none of one that has none."""
    return layer.branches if isinstance(layer, layers.Residual | layers.Concat) else ()


def all_layers(network: Sequence[layers.Layer]) -> Iterator[layers.Layer]:
    """Yield all layers, each before those of its branches."""
    for layer in network:
        yield layer
        for branch in branches_of(layer):
            yield from all_layers(branch)


def spec_layers(spec: KernelSpec) -> Iterator[layers.Layer]:
    """Yield all layers of a network and of its readouts, those of branches included."""
    yield from all_layers(spec.layers)
    for readout in spec.readouts:
        yield from all_layers(readout.layers)


def _needs_variances(layer: layers.Layer) -> bool:
    return uses_variances(layer) or any(
        _needs_variances(inner) for branch in branches_of(layer) for inner in branch
    )


def _couples_positions(layer: layers.Layer) -> bool:
    """Return whether a layer's diagonal ``p = p'`` depends on entries off the diagonal."""
    pools = layers.AvgPool | layers.SumPool | layers.CknPool
    everything = layers.GlobalAvgPool | layers.GlobalSumPool | layers.Center
    return isinstance(layer, pools | everything) or any(
        _couples_positions(inner) for branch in branches_of(layer) for inner in branch
    )


def split_for_variances(
    network: Sequence[layers.Layer],
) -> tuple[Sequence[layers.Layer], Sequence[layers.Layer]]:
    """Cut a network into what variances need of whole states and what of diagonals alone.

    A variance is an entry ``p = p'`` of the covariance of an item with itself. Only pools carry
    other entries onto that diagonal, so behind the last pool that variances depend on the
    diagonal is enough: a network without pools never holds a whole state.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.

    Returns
    -------
    dense, diagonal : sequence of Layer
        Layers up to the last such pool, and from there to the last layer that needs variances.
        What follows that layer is in neither.
    """
    stop = max((i + 1 for i, layer in enumerate(network) if _needs_variances(layer)), default=0)
    start = max((i + 1 for i, layer in enumerate(network[:stop]) if _couples_positions(layer)),
                default=0)  # fmt: skip
    return network[:start], network[start:stop]


def check_variances(
    part: NDArray[Any], places: Sequence[VariancePlace], start: int, precision: Precision
) -> None:
    """Refuse variances that are not finite, naming the first layer and its first item.

    Parameters
    ----------
    part : ndarray, (n, V)
        Variances of items.
    places : sequence of VariancePlace
        The layers they belong to.
    start : int
        Number of the first item.
    precision : {"float32", "mixed", "float64"}
        How they were asked for.

    Raises
    ------
    NonFiniteKernelError
        When one is NaN or infinite.
    """
    if np.isfinite(part).all():
        return
    stop = 0
    for place in places:
        begin, stop = stop, stop + prod(place.positions)
        finite = np.isfinite(part[:, begin:stop]).all(axis=1)
        if not finite.all():
            item = start + int(np.argmin(finite))
            raise NonFiniteKernelError(
                f"{place.layer} ({place.type}) is given a variance of NaN or infinity, first for "
                f"item {item}, in {precision}: {remedy(precision, place.type)}",
                layer=place.layer,
                type=place.type,
                pair=[item, item],
            )


def check_quadratures(spec: KernelSpec, item_shape: Sequence[int], *sides: NDArray[Any]) -> None:
    """Warn of numeric activations whose quadrature has not converged for these variances.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    *sides : ndarray, (n, V)
        Variances of items at all layers.

    Warns
    -----
    QuadratureWarning
        Names function, degree and the worst variance.
    """
    stop = 0
    for place in spec_variance_places(spec, item_shape):
        start, stop = stop, stop + prod(place.positions)
        if isinstance(place.model, layers.Numeric):
            own = np.concatenate([side[:, start:stop].ravel() for side in sides])
            check_quadrature(place.model, own, derivative="ntk" in spec.kernels)


Provide = Callable[[Array, Positions, bool], tuple[Array, Array, Any]]


class Variances:
    """Where a walk takes variances from: known ones, or the covariance's own diagonal."""

    def __init__(self, provide: Provide) -> None:
        self._provide = provide

    def moments(self, covariance: Array, positions: Positions) -> Moments:
        """Return the moments at a layer's input, with the covariance made exact on ``x is x'``."""
        rows, columns, same = self._provide(covariance, positions, False)
        return Moments(covariance, rows, columns, same)

    def mean_moments(self, covariance: Array, positions: Positions) -> Moments:
        """Return the covariance with the means of the variances over the positions."""
        rows, columns, _ = self._provide(covariance, positions, True)
        return Moments(covariance, rows, columns)

    @classmethod
    def recording(cls, into: list[Array]) -> "Variances":
        """Read the diagonal of every state of items paired with themselves, and keep it.

        Parameters
        ----------
        into : list
            Receives ``q``, (b, *P), or its mean, (b,), of every layer that needs variances.
            States may be whole, (b, *P, *P), or their diagonals, (b, *P).
        """

        def provide(
            covariance: Array, positions: Positions, mean: bool
        ) -> tuple[Array, Array, Any]:
            batch, axes = len(covariance), len(positions)
            whole = covariance.ndim > 1 + axes
            diagonal = diagonal_of(covariance, positions) if whole else covariance.copy()
            # Where positions cancel, as they do around a mean, rounding may leave less than 0.
            namespace_of(diagonal).maximum(diagonal, 0, out=diagonal)
            if mean:
                diagonal = diagonal.reshape(batch, -1).mean(axis=1)
                into.append(diagonal)
                shaped = diagonal.reshape(batch, *[1] * (covariance.ndim - 1))
                return shaped, shaped, None
            into.append(diagonal)
            if not whole:
                return diagonal, diagonal, ...
            grid = _grid(namespace_of(covariance), positions)
            ones = (1,) * axes
            return (
                diagonal.reshape(batch, *positions, *ones),
                diagonal.reshape(batch, *ones, *positions),
                (slice(None), *grid, *grid),
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

        def provide(
            covariance: Array, positions: Positions, mean: bool
        ) -> tuple[Array, Array, Any]:
            mine, yours = next(parts)
            ones = (1,) * len(positions)
            if mean:
                return mine.reshape(-1, 1, *ones, *ones), yours.reshape(1, -1, *ones, *ones), None
            same = None
            if len(same_pairs[0]):
                xp = namespace_of(covariance)
                left, right = (xp.asarray(index)[:, None] for index in same_pairs)
                grid = tuple(axis[None] for axis in _grid(xp, positions))
                same = (left, right, *grid, *grid)
                # Rounding of S differs from that of q; on x is x', p = p' they are one number.
                covariance[same] = mine[(left, *grid)]
            return (
                mine.reshape(len(mine), 1, *positions, *ones),
                yours.reshape(1, len(yours), *ones, *positions),
                same,
            )

        return cls(provide)


def _grid(xp: Any, positions: Positions) -> tuple[Array, ...]:
    """Return the index of every position, axis by axis."""
    return tuple(xp.unravel_index(xp.arange(prod(positions)), positions)) if positions else ()


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
