"""The reference engine: dense covariances, straight from the formulas of the papers.

For every pair of items the whole covariance ``S[p, p']`` between positions (and the tangent
kernel ``T[p, p']`` where the NTK is asked for) goes through the layers as one array. Slow and
plain; the fast engines are measured against it.

References
----------
Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian
Processes", ICLR 2019. Arora et al., "On Exact Computation with an Infinitely Wide Neural
Net", NeurIPS 2019. Shankar et al., "Neural Kernels Without Tangents", ICML 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import keep_freed_memory
from gramserve.errors import MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels.inputs import input_scale, input_vectors, input_width, is_plain
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.precision import overflow, result_dtype, working_dtype
from gramserve.kernels.recursion import Recursion, State, input_covariance
from gramserve.kernels.tiles import Tile, cut_tiles
from gramserve.kernels.variances import (
    VariancePlace,
    Variances,
    branches_of,
    check_quadratures,
    check_variances,
    spec_layers,
    spec_variance_places,
    split_for_variances,
)
from gramserve.spec import KernelSpec, OutputName, Precision, infer_shapes, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages import count_operations

_CACHED_BYTES = 2**20
"""Size of a state at which batches stop growing: larger ones fall out of the cache."""

_STATES_AT_ONCE = 10
"""Arrays of the largest state alive at once: S and T, their successors, and a dual's parts."""

_LONG_DUALS = (
    layers.Gelu, layers.Gabor, layers.Gaussian, layers.Sin, layers.Cos, layers.ArcCosine,
    layers.Numeric,
)  # fmt: skip
"""Activations whose duals have more parts."""

_MORE_STATES = 6
"""How many more."""


_QUADRATURE_BYTES = 2**24
"""Function values at the nodes of some variances."""


@dataclass(frozen=True)
class _Task:
    """What every tile of one evaluation shares."""

    spec: KernelSpec
    rows: Items
    columns: Items
    precision: Precision
    places: tuple[VariancePlace, ...]
    """The layers that need variances."""
    row_labels: NDArray[np.intp]
    """(n,) integers, equal to a column's where the two are the same item."""
    column_labels: NDArray[np.intp]
    """(m,) likewise."""

    @property
    def is_symmetric(self) -> bool:
        """Whether rows and columns are the same items in the same order."""
        return np.array_equal(self.row_labels, self.column_labels)


@dataclass(frozen=True)
class ReferenceEngine:
    """NumPy, dense, float32 and float64; "mixed" is float64 rounded to float32."""

    name: str = "reference"
    device: str = "cpu"
    about: str = "NumPy, dense"

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return None: it runs every layer."""
        return None

    def warm(self) -> None:
        """Do nothing: NumPy is compiled."""

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory of one pair of items, in bytes."""
        cost = count_operations(spec, item_shape)
        states = _STATES_AT_ONCE + 4 * cost.branch_depth
        if any(isinstance(layer, _LONG_DUALS) for layer in spec_layers(spec)):
            states += _MORE_STATES
        if spec.readouts:
            states += 2
        number = working_dtype(precision).itemsize
        vector = prod(item_shape[:-1]) * input_width(spec, item_shape)
        items = 2 * vector * number
        if not is_plain(spec):
            # Made in float64: the items, weighted, next to a constant.
            items += 2 * 8 * (prod(item_shape) + 2 * vector)
        series = _series_bytes(spec, item_shape)
        return states * cost.largest_entries * number + items + series

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances an item has: all layers' ``q``, in the layers' order."""
        places = spec_variance_places(spec, item_shape)
        return sum(prod(place.positions) for place in places)

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,  # noqa: ARG002 - one, besides those of the matrix products
    ) -> NDArray[Any]:
        """Return the variances of every item at every layer whose dual needs them.

        Computed in float64 whatever the precision, because their cost is at most that of one
        pair an item and errors in them spoil whole rows. Whole self-covariances are held up to
        the last pool that matters, only their diagonals behind it
        (:func:`gramserve.kernels.variances.split_for_variances`).

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        values : ndarray, (n, *item_shape)
            The items.
        precision : {"float32", "mixed", "float64"}
            Decides the dtype of the result.
        memory_bytes : int
            Temporary memory allowed, in bytes.
        threads : int
            Without effect: the engine itself has one.

        Returns
        -------
        ndarray, (n, V)
            float32 for "float32", else float64. V is :meth:`variance_length`; where a layer
            needs variances at ``P`` positions, that many follow each other, in C order.

        Raises
        ------
        MemoryBudgetError
            When not even one item fits.
        NonFiniteKernelError
            When a variance is NaN or infinite; names the layer and the first bad item.
        """
        infer_shapes(spec, values.shape[1:])
        keep_freed_memory()
        batch = self._pairs_at_once(spec, values.shape[1:], "float64", memory_bytes)
        places = spec_variance_places(spec, values.shape[1:])
        length = sum(prod(place.positions) for place in places)
        result = np.empty((len(values), length), working_dtype(precision))
        for start in range(0, len(values) if length else 0, batch):
            items = input_vectors(spec, values[start : start + batch], np.float64)
            part = result[start : start + batch]
            with np.errstate(all="ignore"):  # what is not finite is reported below
                recorded = _record_variances(spec, items, input_scale(spec, values.shape[1:]))
                np.concatenate(recorded, axis=1, out=part, casting="same_kind")
            check_variances(part, places, start, precision)
        return result

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,  # noqa: ARG002 - one, besides those of the matrix products
    ) -> dict[OutputName, NDArray[Any]]:
        """Return all kernels asked for, of every row item with every column item.

        Where the keys of rows and columns are the same in the same order, the upper triangle is
        computed and mirrored.

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        rows, columns : Items
            n and m items of one shape.
        precision : {"float32", "mixed", "float64"}
            How to compute.
        memory_bytes : int
            Temporary memory allowed, in bytes.
        threads : int
            Without effect: the engine itself has one.

        Returns
        -------
        dict of ndarray, (n, m)
            float64 for "float64", else float32.

        Raises
        ------
        MemoryBudgetError
            When not even one pair fits.
        NonFiniteKernelError
            When a value is NaN or infinite; names the layer and the first bad pair.
        """
        item_shape = rows.values.shape[1:]
        infer_shapes(spec, item_shape)
        keep_freed_memory()
        batch = self._pairs_at_once(spec, item_shape, precision, memory_bytes)
        places = spec_variance_places(spec, item_shape)
        check_quadratures(spec, item_shape, rows.variances, columns.variances)
        labels = label_items(rows, columns)
        task = _Task(spec, rows, columns, precision, places, *labels)
        result = {
            name: np.empty((len(rows), len(columns)), result_dtype(precision))
            for name in spec.outputs
        }
        symmetric = task.is_symmetric
        for tile in cut_tiles(len(rows), len(columns), batch, symmetric=symmetric):
            ends = _walk(task, tile)
            for name in spec.outputs:
                readout, _, kernel = name.rpartition(".")
                state = ends[readout]
                values = state.covariance if kernel == "nngp" else state.tangent
                part = result[name][tile]
                with np.errstate(over="ignore"):  # what overflows here is reported below
                    part[...] = 0 if values is None else values
                if not np.isfinite(part).all() or not np.isfinite(state.covariance).all():
                    _blame(task, tile, part)
                if symmetric:
                    if tile[0] == tile[1]:
                        part[...] = np.triu(part) + np.triu(part, 1).T
                    result[name][tile[::-1]] = part.T
        return result

    def _pairs_at_once(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision, memory_bytes: int
    ) -> int:
        needed = self.temporary_bytes(spec, item_shape, precision)
        if needed > memory_bytes:
            msg = (
                f"one pair of items of shape {tuple(item_shape)} needs {needed / 2**20:.1f} MiB in "
                f"{precision}, {memory_bytes / 2**20:.1f} MiB are allowed; allow more memory, use "
                "smaller items or precision float32"
            )
            raise MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=memory_bytes)
        state = (
            count_operations(spec, item_shape).largest_entries * working_dtype(precision).itemsize
        )
        return max(1, min(memory_bytes // needed, _CACHED_BYTES // state))


def _series_bytes(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return what the series of numeric activations need besides states, in bytes."""
    shapes = [shape.positions for shape in infer_shapes(spec, item_shape)]
    needed = _network_series_bytes(spec.layers, shapes[0])
    for readout in spec.readouts:
        needed = max(needed, _network_series_bytes(readout.layers, shapes[readout.after]))
    return needed


def _network_series_bytes(network: Sequence[layers.Layer], positions: Positions) -> int:
    needed = 0
    for layer in network:
        if isinstance(layer, layers.Numeric):
            # Coefficients of both sides and what they are sorted out of; function values.
            needed = max(needed, 64 * layer.degree * prod(positions) + _QUADRATURE_BYTES)
        for branch in branches_of(layer):
            needed = max(needed, _network_series_bytes(branch, positions))
        positions = positions_of(layer, positions)
    return needed


def _record_variances(
    spec: KernelSpec, items: NDArray[np.float64], scale: float
) -> list[NDArray[Any]]:
    """Return (n, P) variances of every layer that needs them."""
    recorded: list[NDArray[Any]] = []
    recursion = Recursion(ntk=False, variances=Variances.recording(recorded))
    positions = items.shape[1:-1]
    if spec.readouts:
        covariance = input_covariance(items, items, scale, paired=True)
        recursion.run_spec(spec, State(covariance, None, positions))
        return [part.reshape(len(items), -1) for part in recorded]
    dense, diagonal = split_for_variances(spec.layers)
    if dense:
        covariance = input_covariance(items, items, scale, paired=True)
        state = recursion.run(dense, State(covariance, None, positions)).diagonal()
    else:
        squares = np.einsum("...c,...c->...", items, items)
        squares *= scale
        state = State(squares, None, positions, is_diagonal=True)
    recursion.run(diagonal, state)
    return [part.reshape(len(items), -1) for part in recorded]


def _in_dtype(variances: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return variances in another dtype, NaN where they are beyond it: a cosine would be 0."""
    if variances.dtype == dtype:
        return variances
    with np.errstate(over="ignore"):
        found = variances.astype(dtype)
    found[np.isinf(found)] = np.nan
    return found


def _walk(task: _Task, tile: Tile, *, watch: bool = False) -> dict[str, State]:
    """Take one tile of pairs through the layers."""
    spec, dtype = task.spec, working_dtype(task.precision)
    rows, columns = tile
    item_shape = task.rows.values.shape[1:]
    with np.errstate(over="ignore"):  # the caller looks for what is not finite
        mine = input_vectors(spec, task.rows.values[rows], dtype)
        yours = input_vectors(spec, task.columns.values[columns], dtype)
    same = np.equal.outer(task.row_labels[rows], task.column_labels[columns])
    left, right = np.nonzero(same)
    known = Variances.known(
        _in_dtype(task.rows.variances[rows], dtype),
        _in_dtype(task.columns.variances[columns], dtype),
        [place.positions for place in task.places],
        (left, right),
    )
    recursion = Recursion(ntk="ntk" in spec.kernels, variances=known, watch=watch)
    with np.errstate(all="ignore"):  # the caller looks for what is not finite
        covariance = input_covariance(mine, yours, input_scale(spec, item_shape), paired=False)
        return recursion.run_spec(spec, State(covariance, None, item_shape[:-1]))


def _blame(task: _Task, tile: Tile, values: NDArray[Any]) -> None:
    """Walk a tile again, looking for the layer and the pair that made these values."""
    first, start = tile[0].start, tile[1].start
    try:
        _walk(task, tile, watch=True)
    except NonFiniteKernelError as error:
        row, column = error.context["pair"]
        where, kind = error.context["layer"], error.context["type"]
        pair = (first + row, start + column)
        raise overflow(where, kind, pair, task.precision) from None
    row, column = np.argwhere(~np.isfinite(values))[0]
    raise overflow("result", "result", (first + int(row), start + int(column)), task.precision)
