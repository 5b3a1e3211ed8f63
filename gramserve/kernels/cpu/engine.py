"""The CPU engine's side of the engine protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.blame import blame
from gramserve.kernels.cpu.activations import find_unsupported
from gramserve.kernels.cpu.block import Block, evaluate_block, evaluate_tails
from gramserve.kernels.cpu.program import write_program
from gramserve.kernels.cpu.run import VECTOR_BYTES, aligned, lanes_of, rows_at_once
from gramserve.kernels.cpu.self_pairs import record_variances
from gramserve.kernels.cpu.tables import Program
from gramserve.kernels.cpu.warm import compile_all
from gramserve.kernels.inputs import input_vectors, input_width, is_plain
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.precision import result_dtype, working_dtype
from gramserve.kernels.reference import ReferenceEngine
from gramserve.kernels.variances import check_quadratures, check_variances, spec_variance_places
from gramserve.spec import KernelSpec, OutputName, Precision, infer_shapes
from gramserve.stages import count_operations, cut_stages, flat_steps


@lru_cache(maxsize=32)
def _program(spec: KernelSpec, item_shape: tuple[int, ...], *, for_variances: bool) -> Program:
    """Write a program, or find it: large networks take some tenths of a second."""
    count = count_operations(spec, item_shape).variances
    return write_program(spec, item_shape, count, for_variances=for_variances)


@dataclass(frozen=True)
class CpuEngine:
    """Numba, offset planes, vectors of items."""

    name: str = "cpu"
    device: str = "cpu"
    about: str = "Numba, offset planes in vectors of items"
    _dense: ReferenceEngine = field(default_factory=ReferenceEngine)

    def missing(self) -> str | None:
        """Return None: it is everywhere."""
        return None

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return why the engine cannot run a kernel, or None if it can."""
        found = find_unsupported(spec.layers)
        for number, readout in enumerate(spec.readouts):
            found = found or find_unsupported(readout.layers, f"readouts[{number}].layers")
        return found

    def warm(self) -> None:
        """Compile everything into Numba's cache, some forty seconds the first time."""
        compile_all()

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory of one thread, in bytes: planes, states, and a group."""
        shape = tuple(item_shape)
        program = _program(spec, shape, for_variances=False)
        early, late = _dtypes(precision, program)
        ntk = "ntk" in spec.kernels
        rooms = 1 + (early != late)
        planes = rooms * sum(program.room(ntk=ntk)) * VECTOR_BYTES
        numbers = _input_numbers(spec, shape) + 5 * int(program.gains.shape[1])
        numbers += program.coefficients
        sides = numbers * (2 * VECTOR_BYTES + rows_at_once(program, early) * early.itemsize)
        sides *= rooms + (early != late)  # twice as long in float64
        own = _own_bytes(spec, _program(spec, shape, for_variances=True), shape)
        if program.series:
            # Variances are the reference engine's; coefficients are made in float64 and turned.
            own = self._dense.temporary_bytes(spec, shape, "float64")
            sides += 3 * lanes_of(early) * program.coefficients * 8
        return max(planes + sides, own)

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances an item has: all layers' ``q``, in the layers' order."""
        return self._dense.variance_length(spec, item_shape)

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Return the variances of every item, from the planes that they need.

        Computed in float64 whatever the precision: errors in them spoil whole rows.

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        values : ndarray, (n, *item_shape)
            The items.
        precision : {"float32", "mixed", "float64"}
            Decides the dtype of the result.
        memory_bytes : int
            Temporary memory allowed, in bytes. Where the planes do not fit, the reference engine
            takes over, and with numeric activations, whose coefficients need variances first.
        threads : int
            Threads that share the items, at most.

        Returns
        -------
        ndarray, (n, V)
            float32 for "float32", else float64.

        Raises
        ------
        NonFiniteKernelError
            When a variance is NaN or infinite; names the layer and the first bad item.
        """
        item_shape = values.shape[1:]
        infer_shapes(spec, item_shape)
        program = _program(spec, item_shape, for_variances=True)
        length = self.variance_length(spec, item_shape)
        needed = _own_bytes(spec, program, item_shape)
        if program.series or needed > memory_bytes:
            return self._dense.variances(spec, values, precision, memory_bytes=memory_bytes)
        threads = max(1, min(threads, memory_bytes // needed))
        found = np.empty((len(values), length))
        if length:
            record_variances(spec, program, values, found, threads)
        with np.errstate(over="ignore"):  # what overflows here is found below
            found = found.astype(working_dtype(precision))
        places = spec_variance_places(spec, item_shape)
        check_variances(found, places, 0, precision)
        return found

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> dict[OutputName, NDArray[Any]]:
        """Return all kernels asked for, of every row item with every column item.

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        rows, columns : Items
            n and m items of one shape.
        precision : {"float32", "mixed", "float64"}
            How to compute. "mixed" takes float64 from the first pool on.
        memory_bytes : int
            Temporary memory allowed, in bytes. Fewer threads run where it is not enough for all;
            where it is not enough for one, the reference engine takes the block.
        threads : int
            Threads that share the block, at most.

        Returns
        -------
        dict of ndarray, (n, m)
            float64 for "float64", else float32.

        Raises
        ------
        NonFiniteKernelError
            When a value is NaN or infinite; names the layer and the first bad pair.
        """
        item_shape, items = rows.values.shape[1:], (rows, columns)
        infer_shapes(spec, item_shape)
        program = _program(spec, item_shape, for_variances=False)
        needed = self.temporary_bytes(spec, item_shape, precision)
        if needed > memory_bytes:
            return self._dense.evaluate(spec, rows, columns, precision, memory_bytes=memory_bytes)
        check_quadratures(spec, item_shape, rows.variances, columns.variances)
        early, late = _dtypes(precision, program)
        labels = label_items(rows, columns)
        has_tangent = "ntk" in spec.kernels
        filled = -(-len(columns) // lanes_of(early)) * lanes_of(early)
        block = Block(
            spec, program, rows, columns, *labels, early, late, has_tangent,
            aligned(
                (2 if has_tangent else 1, max(1, len(program.results)), len(rows), filled), late
            ),
        )  # fmt: skip
        first_variance = 0
        if len(program.stages):
            evaluate_block(block, max(1, min(threads, memory_bytes // needed)))
            first_variance = _variances_before_tail(spec, item_shape)
        else:
            with np.errstate(all="ignore"):  # what overflows here is found below
                left = input_vectors(spec, rows.values, late)
                # Of an array with itself NumPy computes half a product.
                right = left if rows is columns else input_vectors(spec, columns.values, late)
                product = left @ right.T
                if program.channel_scale != 1:
                    product *= late.type(program.channel_scale)
            block.values[0, 0, :, : len(columns)] = product
        ends = evaluate_tails(block, first_variance, has_tangent=bool(len(program.stages)))
        result: dict[OutputName, NDArray[Any]] = {}
        for name in spec.outputs:
            readout, _, kernel = name.rpartition(".")
            gram = ends[readout][int(kernel == "ntk"), :, : len(columns)]
            if block.is_symmetric:
                # Row by row: a triangle as a whole would be three more copies.
                for row in range(len(gram)):
                    gram[row + 1 :, row] = gram[row, row + 1 :]
            with np.errstate(over="ignore"):  # what overflows here is found below
                result[name] = gram.astype(result_dtype(precision))
            # A tangent kernel may be finite where the covariance that goes with it is not.
            for found in (result[name], block.values[0, :, : len(columns)]):
                if not np.isfinite(found).all():
                    blame(self._dense, spec, items, precision, found, memory_bytes=memory_bytes)
        return result


def _input_numbers(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return the numbers of an item's vectors; more where they are made in float64 first."""
    numbers = prod(item_shape[:-1]) * input_width(spec, item_shape)
    return numbers if is_plain(spec) else 3 * numbers + 2 * prod(item_shape)


def _own_bytes(spec: KernelSpec, program: Program, item_shape: Sequence[int]) -> int:
    """Return what one thread needs for variances, in bytes."""
    numbers = _input_numbers(spec, item_shape) + 3 * int(program.gains.shape[1])
    return (sum(program.room(ntk=False)) + numbers) * VECTOR_BYTES


def _dtypes(precision: Precision, program: Program) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the dtypes before the first pool or readout and behind it."""
    late = np.dtype(np.float32 if precision == "float32" else np.float64)
    if precision == "mixed" and len(program.stages):
        return np.dtype(np.float32), late
    return late, late


def _variances_before_tail(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return how many variances belong to layers that stages hold."""
    cut = cut_stages(spec, item_shape)
    tails = (cut.tail, *(tap.tail for tap in cut.taps))
    steps = (step for tail in tails for step in flat_steps(tail))
    return min((step.variance for step in steps if step.variance is not None), default=0)
