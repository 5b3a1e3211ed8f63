"""The reference engine: dense covariances, straight from the formulas of the papers.

For every pair of items the whole covariance ``S[p, p']`` between positions (and the tangent
kernel ``T[p, p']`` where the NTK is asked for) goes through the layers as one array. Slow and
plain; the fast engines are measured against it. The arrays are NumPy's, or CuPy's where the
engine is given a card: the formulas are the same lines.

References
----------
Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian
Processes", ICLR 2019. Arora et al., "On Exact Computation with an Infinitely Wide Neural
Net", NeurIPS 2019. Shankar et al., "Neural Kernels Without Tangents", ICML 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, OwnCard, keep_freed_memory, namespace_of, to_host
from gramserve.errors import DeviceMemoryError, MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels.inputs import input_scale, input_vectors
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.place import Place, open_place
from gramserve.kernels.precision import overflow, result_dtype, working_dtype
from gramserve.kernels.recursion import Recursion, State, input_covariance
from gramserve.kernels.temporaries import temporary_bytes
from gramserve.kernels.tiles import Tile, cut_tiles
from gramserve.kernels.variances import (
    VariancePlace,
    Variances,
    check_quadratures,
    check_variances,
    spec_variance_places,
    split_for_variances,
)
from gramserve.spec import KernelSpec, OutputName, Precision, infer_shapes
from gramserve.stages import count_operations


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
    place: Place
    """Where the states lie."""

    @property
    def is_symmetric(self) -> bool:
        """Whether rows and columns are the same items in the same order."""
        return np.array_equal(self.row_labels, self.column_labels)


@dataclass(frozen=True)
class ReferenceEngine:
    """Dense arrays, float32 and float64; "mixed" is float64 rounded to float32."""

    card: OwnCard | None = None
    """Where states lie, if it has a card; the host's memory otherwise."""

    name: ClassVar[str] = "reference"

    @property
    def device(self) -> str:
        """Name of the card, or "cpu"."""
        return (self.card and self.card.name) or "cpu"

    @property
    def about(self) -> str:
        """How it computes."""
        on_card = self.card is not None and self.card.missing() is None
        return "CuPy, dense" if on_card else "NumPy, dense"

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return None: it runs every layer."""
        return None

    def missing(self) -> str | None:
        """Return None: it is everywhere."""
        return None

    def warm(self) -> None:
        """Do nothing: NumPy is compiled, and CuPy compiles what it is asked for."""

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory of one pair of items, in bytes."""
        return temporary_bytes(spec, item_shape, precision)

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
        item_shape = values.shape[1:]
        infer_shapes(spec, item_shape)
        keep_freed_memory()
        places = spec_variance_places(spec, item_shape)
        length = sum(prod(place.positions) for place in places)
        result = np.empty((len(values), length), working_dtype(precision))
        if not length:
            return result
        with open_place(self.card) as place:
            batch = self._pairs_at_once(spec, item_shape, "float64", memory_bytes, place)
            start = 0
            while start < len(values):
                items = input_vectors(spec, values[start : start + batch], np.float64)
                part = result[start : start + batch]
                try:
                    with np.errstate(all="ignore"):  # what is not finite is reported below
                        recorded = _record_variances(
                            spec, place.put(items), input_scale(spec, item_shape)
                        )
                        np.concatenate(
                            [to_host(each) for each in recorded],
                            axis=1,
                            out=part,
                            casting="same_kind",
                        )
                except DeviceMemoryError as error:
                    batch = _smaller(batch, error)
                    continue
                check_variances(part, places, start, precision)
                start += batch
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
        check_quadratures(spec, item_shape, rows.variances, columns.variances)
        places, labels = spec_variance_places(spec, item_shape), label_items(rows, columns)
        result = {
            name: np.empty((len(rows), len(columns)), result_dtype(precision))
            for name in spec.outputs
        }
        with open_place(self.card) as place:
            task = _Task(spec, rows, columns, precision, places, *labels, place)
            batch = self._pairs_at_once(spec, item_shape, precision, memory_bytes, place)
            while True:
                try:
                    _fill(task, batch, result)
                except DeviceMemoryError as error:
                    batch = _smaller(batch, error)
                else:
                    return result

    def _pairs_at_once(
        self,
        spec: KernelSpec,
        item_shape: Sequence[int],
        precision: Precision,
        memory_bytes: int,
        place: Place,
    ) -> int:
        needed, room = self.temporary_bytes(spec, item_shape, precision), place.room(memory_bytes)
        if needed > room and place.device is not None:
            raise DeviceMemoryError(
                f"one pair of items of shape {tuple(item_shape)} needs {needed / 2**20:.1f} MiB in "
                f"{precision}, and {place.device.name} has {room / 2**20:.1f} MiB for it; end "
                "other programs on the card, or hide it by CUDA_VISIBLE_DEVICES= to compute on the "
                "host"
            )
        if needed > room:
            msg = (
                f"one pair of items of shape {tuple(item_shape)} needs {needed / 2**20:.1f} MiB in "
                f"{precision}, {memory_bytes / 2**20:.1f} MiB are allowed; allow more memory, use "
                "smaller items or precision float32"
            )
            raise MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=memory_bytes)
        state = (
            count_operations(spec, item_shape).largest_entries * working_dtype(precision).itemsize
        )
        return max(1, min(room // needed, place.state_bytes // state))


def _smaller(batch: int, error: DeviceMemoryError) -> int:
    """Return a smaller batch after a device ran out of memory; raise its error where none is."""
    if batch == 1:
        raise error
    return -(-batch // 2)


def _fill(task: _Task, batch: int, result: dict[OutputName, NDArray[Any]]) -> None:
    """Compute all tiles of some matrices."""
    symmetric = task.is_symmetric
    for tile in cut_tiles(len(task.rows), len(task.columns), batch, symmetric=symmetric):
        ends = _walk(task, tile)
        for name in task.spec.outputs:
            readout, _, kernel = name.rpartition(".")
            state = ends[readout]
            values = state.covariance if kernel == "nngp" else state.tangent
            part = result[name][tile]
            with np.errstate(over="ignore"):  # what overflows here is reported below
                part[...] = 0 if values is None else to_host(values)
            if not np.isfinite(part).all() or not np.isfinite(to_host(state.covariance)).all():
                _blame(task, tile, part)
            if symmetric:
                if tile[0] == tile[1]:
                    part[...] = np.triu(part) + np.triu(part, 1).T
                result[name][tile[::-1]] = part.T


def _record_variances(spec: KernelSpec, items: Array, scale: float) -> list[Array]:
    """Return (n, P) variances of every layer that needs them."""
    recorded: list[Array] = []
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
        squares = namespace_of(items).einsum("...c,...c->...", items, items)
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
    put = task.place.put
    known = Variances.known(
        put(_in_dtype(task.rows.variances[rows], dtype)),
        put(_in_dtype(task.columns.variances[columns], dtype)),
        [place.positions for place in task.places],
        (left, right),
    )
    recursion = Recursion(ntk="ntk" in spec.kernels, variances=known, watch=watch)
    with np.errstate(all="ignore"):  # the caller looks for what is not finite
        scale = input_scale(spec, item_shape)
        covariance = input_covariance(put(mine), put(yours), scale, paired=False)
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
