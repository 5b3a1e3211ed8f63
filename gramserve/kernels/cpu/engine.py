"""The CPU engine's side of the engine protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.cpu.program import Program, find_unsupported, write_program
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.precision import result_dtype, working_dtype
from gramserve.kernels.reference import ReferenceEngine
from gramserve.spec import KernelName, KernelSpec, Precision, infer_shapes

_VECTOR_BYTES = 64

_COSINE_ROUNDING = 5.0
"""Error of a cosine near 1 after some layers, in units of the machine epsilon."""


@dataclass(frozen=True)
class CpuEngine:
    """Numba, offset planes, vectors of items; "mixed" is float64 rounded to float32."""

    name: str = "cpu"
    device: str = "cpu"
    about: str = "Numba, offset planes in vectors of items"
    _dense: ReferenceEngine = field(default_factory=ReferenceEngine)

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return why the engine cannot run a kernel, or None if it can."""
        return find_unsupported(spec)

    def pair_bytes(self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision) -> int:
        """Return the temporary memory of one pair of items, in bytes.

        That of the dense evaluation, which the variances take; planes take less.
        """
        return self._dense.pair_bytes(spec, item_shape, precision)

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances an item has: those of the reference engine."""
        return self._dense.variance_length(spec, item_shape)

    def variances(
        self, spec: KernelSpec, values: NDArray[Any], precision: Precision, *, memory_bytes: int
    ) -> NDArray[Any]:
        """Return the variances of every item, as the reference engine computes them."""
        return self._dense.variances(spec, values, precision, memory_bytes=memory_bytes)

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
            Temporary memory allowed, in bytes. Where the planes do not fit, the reference engine
            takes the block, in batches that do.

        Returns
        -------
        dict of ndarray, (n, m)
            float64 for "float64", else float32.

        Raises
        ------
        NonFiniteKernelError
            When a value is NaN or infinite; names the layer and the first bad pair.
        """
        item_shape = rows.values.shape[1:]
        infer_shapes(spec, item_shape)
        dtype = working_dtype(precision)
        program = write_program(spec, item_shape)
        has_tangent = "ntk" in spec.kernels
        if sum(program.room(ntk=has_tangent)) * _VECTOR_BYTES > memory_bytes:
            return self._dense.evaluate(spec, rows, columns, precision, memory_bytes=memory_bytes)
        mine, yours = label_items(rows, columns)
        is_symmetric = np.array_equal(mine, yours)
        run = _Run(program, rows, dtype, item_shape[-1], ntk=has_tangent)
        values = {name: np.empty((len(rows), len(columns)), dtype) for name in ("nngp", "ntk")}
        for start in range(0, len(columns), run.lanes):
            # A group that is not full repeats its last item.
            group = np.minimum(np.arange(start, start + run.lanes), len(columns) - 1)
            part = slice(start, min(start + run.lanes, len(columns)))
            last = part.stop if is_symmetric else len(rows)
            same = mine[:last, None] == yours[None, group]
            nngp, ntk = run.evaluate(columns, group, same)
            values["nngp"][:last, part] = nngp[:, : part.stop - start]
            values["ntk"][:last, part] = ntk[:, : part.stop - start]
        result: dict[KernelName, NDArray[Any]] = {}
        for name in spec.kernels:
            gram = values[name]
            if is_symmetric:
                gram = np.triu(gram) + np.triu(gram, 1).T
            with np.errstate(over="ignore"):  # what overflows here is found below
                result[name] = gram.astype(result_dtype(precision))
            if not np.isfinite(result[name]).all():
                self._blame(
                    spec, rows, columns, precision, memory_bytes=memory_bytes, gram=result[name]
                )
        return result

    def _blame(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        gram: NDArray[Any],
    ) -> None:
        """Have the reference engine find the layer at which the first bad pair goes wrong."""
        row, column = (int(index) for index in np.argwhere(~np.isfinite(gram))[0])
        one, other = rows[row : row + 1], columns[column : column + 1]
        try:
            self._dense.evaluate(spec, one, other, precision, memory_bytes=memory_bytes)
        except NonFiniteKernelError as error:
            raise NonFiniteKernelError(
                f"row {row} and column {column} of the block: {error.message}",
                **error.context | {"pair": [row, column]},
            ) from None
        raise NonFiniteKernelError(
            f"the value of row {row} and column {column} of the block is NaN or infinite in "
            f"{precision}: use precision float64 or scale the items down",
            layer="result",
            type="result",
            pair=[row, column],
        )


class _Run:
    """The rows of one block, and the room to take them through a program."""

    def __init__(
        self, program: Program, rows: Items, dtype: np.dtype[Any], channels: int, *, ntk: bool
    ) -> None:
        self.lanes = _VECTOR_BYTES // dtype.itemsize
        self._program, self._dtype, self._channels, self._ntk = program, dtype, channels, ntk
        self._x = np.ascontiguousarray(rows.values.reshape(len(rows), -1), dtype)
        self._roots = [np.ascontiguousarray(part, dtype) for part in _roots(rows.variances)]
        self._floats = program.floats.astype(dtype)
        self._floats[1] = _COSINE_ROUNDING * np.finfo(dtype).eps
        self._room = [np.zeros(size * self.lanes, dtype) for size in program.room(ntk=ntk)]

    def evaluate(
        self, columns: Items, group: NDArray[np.intp], same: NDArray[np.bool]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (rows, lanes) values of both kernels, as many rows as ``same`` has."""
        # Numba takes a second to import, and compiled code some milliseconds to load.
        from gramserve.kernels.cpu.planes import evaluate_group  # noqa: PLC0415

        program, dtype = self._program, self._dtype
        flat = columns.values[group].reshape(len(group), -1)
        y = np.ascontiguousarray(flat.T, dtype).ravel()
        ny, iy = (
            np.ascontiguousarray(part.T, dtype).ravel() for part in _roots(columns.variances[group])
        )
        nngp, ntk = (np.zeros((len(same), self.lanes), dtype) for _ in range(2))
        marks, other = same.astype(dtype), np.zeros(self.lanes, dtype)
        for row in range(len(same)):
            evaluate_group(
                program.ops, program.stages, program.planes, program.tables, self._floats,
                self._x[row], self._roots[0][row], self._roots[1][row], y, ny, iy,
                marks[row], other, *self._room, self.lanes, program.margin, self._channels,
                self._ntk, nngp[row], ntk[row],
            )  # fmt: skip
        return nngp, ntk


def _roots(variances: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``sqrt(q)`` and its inverse, 0 where q is 0; one zero where there are none."""
    if not variances.shape[1]:
        nothing = np.zeros((len(variances), 1))
        return nothing, nothing
    roots = np.sqrt(variances.astype(np.float64))
    inverse = np.divide(1, roots, out=np.zeros_like(roots), where=roots > 0)
    return roots, inverse
