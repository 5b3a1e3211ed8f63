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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels.items import Items
from gramserve.kernels.precision import result_dtype, working_dtype
from gramserve.kernels.recursion import (
    Recursion,
    State,
    Variances,
    find_refused,
    input_covariance,
    variance_positions,
)
from gramserve.spec import KernelName, KernelSpec, Precision, infer_shapes, input_positions
from gramserve.spec.layers import Concat, Layer, Residual
from gramserve.spec.shapes import positions_of

_CACHED_ENTRIES = 2**18
"""Entries of a state at which batches stop growing: larger ones fall out of the cache."""

_STATES_AT_ONCE = 10
"""Arrays of the largest state alive at once: S and T, their successors, and a dual's parts."""


def _branch_depth(layers: Sequence[Layer]) -> int:
    """Return how many residual layers are open at once at most."""
    return max(
        (
            1 + max(_branch_depth(branch) for branch in layer.branches)
            for layer in layers
            if isinstance(layer, Residual | Concat)
        ),
        default=0,
    )


def _largest_state(layers: Sequence[Layer], positions: tuple[int, ...]) -> int:
    largest = prod(positions) ** 2
    for layer in layers:
        if isinstance(layer, Residual | Concat):
            largest = max(
                largest, *(_largest_state(branch, positions) for branch in layer.branches)
            )
        positions = positions_of(layer, positions)
        largest = max(largest, prod(positions) ** 2)
    return largest


@dataclass(frozen=True)
class _Task:
    """What every tile of one evaluation shares."""

    spec: KernelSpec
    rows: Items
    columns: Items
    precision: Precision
    same: NDArray[np.bool_]
    """(n, m): whether the two are the same item."""


@dataclass(frozen=True)
class ReferenceEngine:
    """NumPy, dense, float32 and float64; "mixed" is float64 rounded to float32."""

    name: str = "reference"
    device: str = "cpu"

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return why the engine cannot run a kernel, or None if it can."""
        return find_refused(spec.layers)

    def pair_bytes(self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision) -> int:
        """Return the temporary memory of one pair of items, in bytes."""
        largest = _largest_state(spec.layers, input_positions(spec, item_shape))
        states = _STATES_AT_ONCE + 4 * _branch_depth(spec.layers)
        inputs = 2 * prod(item_shape)
        return (states * largest + inputs) * working_dtype(precision).itemsize

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances an item has: all layers' ``q``, in the layers' order."""
        return sum(
            prod(positions)
            for positions in variance_positions(spec.layers, input_positions(spec, item_shape))
        )

    def variances(
        self, spec: KernelSpec, values: NDArray[Any], precision: Precision, *, memory_bytes: int
    ) -> NDArray[Any]:
        """Return the variances of every item at every layer whose dual needs them.

        Computed in float64 whatever the precision, because their cost is that of one pair an
        item and errors in them spoil whole rows.

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

        Returns
        -------
        ndarray, (n, V)
            float32 for "float32", else float64.

        Raises
        ------
        MemoryBudgetError
            When not even one item fits.
        """
        infer_shapes(spec, values.shape[1:])
        batch = self._pairs_at_once(spec, values.shape[1:], "float64", memory_bytes)
        length = self.variance_length(spec, values.shape[1:])
        result = np.empty((len(values), length), working_dtype(precision))
        positions = input_positions(spec, values.shape[1:])
        for start in range(0, len(values), batch):
            items = values[start : start + batch].astype(np.float64)
            recorded: list[NDArray[Any]] = []
            recursion = Recursion(ntk=False, variances=Variances.recording(recorded))
            covariance = input_covariance(spec, items, items, paired=True)
            with np.errstate(all="ignore"):
                recursion.run(spec.layers, State(covariance, None, positions))
            flat = [part.reshape(len(items), -1) for part in recorded]
            if flat:
                np.concatenate(flat, axis=1, out=result[start : start + batch], casting="same_kind")
        return result

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
    ) -> dict[KernelName, NDArray[Any]]:
        """Return all kernels asked for, of every row item with every column item.

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
        infer_shapes(spec, rows.values.shape[1:])
        batch = self._pairs_at_once(spec, rows.values.shape[1:], precision, memory_bytes)
        result = {
            name: np.empty((len(rows), len(columns)), result_dtype(precision))
            for name in spec.kernels
        }
        task = _Task(spec, rows, columns, precision, _equal_keys(rows.keys, columns.keys))
        for part in _tiles(len(rows), len(columns), batch):
            state = self._tile(task, part)
            for name in spec.kernels:
                values = state.covariance if name == "nngp" else state.tangent
                with np.errstate(over="ignore"):  # what overflows here is reported below
                    result[name][part] = values
                if not np.isfinite(result[name][part]).all():
                    self._blame(task, part)
        return result

    @staticmethod
    def _tile(task: "_Task", part: tuple[slice, slice], *, watch: bool = False) -> State:
        spec, precision = task.spec, task.precision
        dtype = working_dtype(precision)
        mine, yours = (
            items.values[where].astype(dtype)
            for items, where in zip((task.rows, task.columns), part, strict=True)
        )
        positions = input_positions(spec, mine.shape[1:])
        shapes = variance_positions(spec.layers, positions)
        known = Variances.known(
            task.rows.variances[part[0]].astype(dtype, copy=False),
            task.columns.variances[part[1]].astype(dtype, copy=False),
            shapes,
            _places(task.same[part]),
        )
        recursion = Recursion(ntk="ntk" in spec.kernels, variances=known, watch=watch)
        covariance = input_covariance(spec, mine, yours, paired=False)
        with np.errstate(all="ignore"):
            return recursion.run(spec.layers, State.initial(covariance, positions, recursion.ntk))

    def _blame(self, task: "_Task", part: tuple[slice, slice]) -> None:
        """Walk the tile again, looking for the layer and the pair that went wrong."""
        offset = [part[0].start, part[1].start]
        try:
            self._tile(task, part, watch=True)
        except NonFiniteKernelError as error:
            error.context["pair"] = [
                a + b for a, b in zip(error.context["pair"], offset, strict=True)
            ]
            where, pair = error.context["layer"], error.context["pair"]
            raise NonFiniteKernelError(
                f"{where} gives NaN or infinity, first for row {pair[0]} and column {pair[1]} of "
                f"the block, in {task.precision}: use precision float64 or scale the items",
                **error.context,
            ) from None
        raise NonFiniteKernelError(
            f"the result overflows {result_dtype(task.precision)} in block rows {part[0].start} to "
            f"{part[0].stop}: use precision float64 or scale the items",
            layer="result",
            pair=offset,
        )

    def _pairs_at_once(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision, memory_bytes: int
    ) -> int:
        needed = self.pair_bytes(spec, item_shape, precision)
        if needed > memory_bytes:
            msg = (
                f"one pair of items of shape {tuple(item_shape)} needs {needed / 2**20:.1f} MiB in "
                f"{precision}, {memory_bytes / 2**20:.1f} MiB are allowed; allow more memory, use "
                "smaller items or precision float32"
            )
            raise MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=memory_bytes)
        largest = _largest_state(spec.layers, input_positions(spec, item_shape))
        return max(1, min(memory_bytes // needed, _CACHED_ENTRIES // largest))


def _tiles(rows: int, columns: int, pairs: int) -> Iterator[tuple[slice, slice]]:
    """Cut n x m pairs into rectangles of at most this many pairs, as square as they get."""
    width = min(columns, max(1, int(pairs**0.5)))
    height = min(rows, max(1, pairs // width))
    width = min(columns, max(1, pairs // height))
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield (
                slice(top, min(top + height, rows)),
                slice(left, min(left + width, columns)),
            )


def _places(same: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of every true entry."""
    rows, columns = np.nonzero(same)
    return rows, columns


def _equal_keys(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n, m) truth of "the same item"."""
    _, labels = np.unique(np.concatenate([rows, columns]), return_inverse=True)
    return np.equal.outer(labels[: len(rows)], labels[len(rows) :])
