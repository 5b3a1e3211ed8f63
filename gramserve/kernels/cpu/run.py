"""Items taken through a program: the buffers of one thread, and what they read."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.cpu.tables import Program
from gramserve.kernels.duals.numeric import hermite_coefficients
from gramserve.kernels.inputs import input_vectors
from gramserve.kernels.items import Items
from gramserve.spec import KernelSpec

VECTOR_BYTES = 64

_MOST_ROWS = 128
"""Items that are taken through in one call, at most: nothing interrupts it."""

_SIDE_BYTES = 2**24
"""Memory for what a call reads of these items."""

_COSINE_ROUNDING = 5.0
"""Error of a cosine near 1 after some layers, in units of the machine epsilon."""

_ONE_PLANE = np.zeros((1, 2), np.int64)

_NO_RESULTS = np.zeros(0, np.int64)


def lanes_of(dtype: np.dtype[Any]) -> int:
    """Return the items in a vector."""
    return VECTOR_BYTES // dtype.itemsize


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that begin at a whole vector: others cost two loads instead of one."""
    size = prod(shape)
    spare = VECTOR_BYTES // dtype.itemsize
    memory = np.zeros(size + spare, dtype)
    start = -memory.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return memory[start : start + size].reshape(shape)


def in_lanes(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return (k, lanes) of (lanes, k) numbers, flat and aligned."""
    turned = aligned(numbers.shape[::-1], dtype)
    with np.errstate(over="ignore"):  # what overflows here is found in the result
        turned[...] = numbers.T
    return turned.ravel()


def roots_of(variances: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return roots of (n, V) variances, and their inverses: 0 where a variance is 0.

    Where a variance is beyond the dtype the inverse is NaN, so that a cosine is not taken for 0.
    """
    if not variances.shape[1]:
        # Compiled code points at something even where there is nothing.
        variances = np.zeros((len(variances), 1))
    with np.errstate(divide="ignore", over="ignore"):
        norms = np.sqrt(variances.astype(dtype))
        inverses = 1 / norms
    inverses[norms == 0] = 0
    inverses[np.isinf(norms)] = np.nan
    return norms, inverses


class Room:
    """The buffers of one thread for one program and dtype, made once."""

    def __init__(
        self, program: Program, dtype: np.dtype[Any], *, ntk: bool, for_tail: bool = False
    ) -> None:
        self.program, self.dtype, self.ntk = program, dtype, ntk
        self.lanes = lanes_of(dtype)
        sizes = () if for_tail else program.room(ntk=ntk)
        self.buffers = [aligned((size * self.lanes,), dtype) for size in sizes]
        self._kept = np.zeros((program.fork_depth + 1, 5), np.int64)
        self._nothing = aligned((self.lanes,), dtype)
        self._floats = program.floats.astype(dtype)
        self._forks: tuple[NDArray[Any], ...] | None = None
        self._tiny = dtype.type(_COSINE_ROUNDING * np.finfo(dtype).eps)

    @property
    def states(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The states of ``S`` and ``T``, (entries, lanes)."""
        return (
            self.buffers[4].reshape(-1, self.lanes),
            self.buffers[9].reshape(-1, self.lanes),
        )

    def evaluate(
        self,
        stages: tuple[int, int],
        mine: tuple[NDArray[Any], ...],
        yours: tuple[NDArray[Any], ...],
        marks: NDArray[Any],
        out: tuple[NDArray[Any], NDArray[Any]],
        recorded: NDArray[Any] | None = None,
    ) -> None:
        """Take items against a group through stages; ``mine`` and ``yours`` are as compiled."""
        program = self.program
        self._run(
            program.stages, stages, program.planes, mine, yours, marks, self.buffers,
            (program.row_entries, program.plane_entries), program.results, out, recorded,
        )  # fmt: skip

    def evaluate_tail(
        self,
        stage: NDArray[np.int64],
        mine: tuple[NDArray[Any], ...],
        yours: tuple[NDArray[Any], ...],
        marks: NDArray[Any],
        values: tuple[NDArray[Any], ...],
        recorded: NDArray[Any] | None = None,
    ) -> None:
        """Take single numbers through a stage of :meth:`Program.tail_stage`, in place."""
        entries = int(stage[0, 2] * stage[0, 3])
        forks = max(1, 2 * self.program.fork_depth * entries) * self.lanes
        if self._forks is None or len(self._forks[0]) < forks:
            self._forks = tuple(aligned((forks,), self.dtype) for _ in range(2))
        one = self._nothing
        s, t = values if len(values) == 2 else (*values, one)
        buffers = [s, one, self._forks[0], one, one, t, one, self._forks[1], one, one, one]
        out = (one.reshape(1, -1),) * 2
        self._run(stage, (0, 1), _ONE_PLANE, mine, yours, marks, buffers, (0, entries), _NO_RESULTS,
                  out, recorded)  # fmt: skip

    def _run(
        self,
        stages: NDArray[np.int64],
        run: tuple[int, int],
        planes: NDArray[np.int64],
        mine: tuple[NDArray[Any], ...],
        yours: tuple[NDArray[Any], ...],
        marks: NDArray[Any],
        buffers: list[NDArray[Any]],
        sizes: tuple[int, int],
        results: NDArray[np.int64],
        out: tuple[NDArray[Any], NDArray[Any]],
        recorded: NDArray[Any] | None,
    ) -> None:
        # Numba takes a second to import, and compiled code some milliseconds to load.
        from gramserve.kernels.cpu.evaluate import evaluate  # noqa: PLC0415

        program, (widest, room) = self.program, sizes
        evaluate(
            program.ops, stages, *run, planes, program.tables, self._floats, self._tiny,
            program.channels, *mine, *yours, marks,
            marks.any(axis=1), self._nothing if recorded is None else recorded,
            recorded is not None, *buffers, self._kept, widest, room, self.lanes,
            self.ntk, results, *out,
        )  # fmt: skip


def coefficients_of(
    program: Program,
    variances: NDArray[Any],
    dtype: np.dtype[Any],
    *,
    ntk: bool,
    behind: bool = False,
) -> NDArray[Any]:
    """Return the coefficients of all numeric activations of items, or of those behind the readout.

    Parameters
    ----------
    program : Program
        The network.
    variances : ndarray, (n, V)
        Of the items.
    dtype : dtype
        Of the result.
    ntk : bool
        Whether those of derivatives are needed; they are 0 otherwise.
    behind : bool
        Only of the layers on single numbers.

    Returns
    -------
    ndarray, (n, coefficients)
        One zero where there are none: compiled code points at something.
    """
    first = program.tail_series if behind else 0
    found = np.zeros((len(variances), max(1, program.coefficients - first)), dtype)
    for series in program.series:
        if series.base < first:
            continue
        own = variances[:, series.variance : series.variance + series.positions]
        start = series.base - first
        stop = start + 2 * series.degree * series.positions
        # By position, then by term, so that the terms of one follow each other.
        terms = found[:, start:stop].reshape(len(own), series.positions, 2, series.degree)
        for derivative in range(1 + ntk):
            values = hermite_coefficients(
                series.function,
                series.degree,
                own.astype(np.float64).ravel(),
                derivative=bool(derivative),
            )
            terms[:, :, derivative] = values.reshape(len(own), series.positions, series.degree)
        found[:, start:stop] = terms.reshape(len(own), -1)
    return found


def my_side(
    spec: KernelSpec,
    program: Program,
    items: Items,
    rows: slice,
    dtype: np.dtype[Any],
    *,
    ntk: bool,
) -> tuple[NDArray[Any], ...]:
    """Return what is read of items row by row.

    Values, norms, inverses, both with the factors of ops done along, and coefficients.
    """
    norms, inverses = roots_of(items.variances[rows], dtype)
    gains = program.gains.astype(dtype)
    with np.errstate(over="ignore"):  # what overflows here is found in the result
        values = input_vectors(spec, items.values[rows], dtype).reshape(len(norms), -1)
        values = np.ascontiguousarray(values)
        if program.channel_scale != 1:
            values = values * dtype.type(program.channel_scale)
    coefficients = coefficients_of(program, items.variances[rows], dtype, ntk=ntk)
    return values, norms, inverses, norms * gains[0], inverses * gains[1], coefficients


def your_side(
    spec: KernelSpec,
    program: Program,
    items: Items,
    group: NDArray[np.intp],
    dtype: np.dtype[Any],
    *,
    ntk: bool,
) -> tuple[NDArray[Any], ...]:
    """Return values, norms, inverses and coefficients of a group, one lane an item."""
    norms, inverses = roots_of(items.variances[group], dtype)
    with np.errstate(over="ignore"):  # what overflows here is found in the result
        values = input_vectors(spec, items.values[group], dtype).reshape(len(group), -1)
    coefficients = coefficients_of(program, items.variances[group], dtype, ntk=ntk)
    return tuple(in_lanes(part, dtype) for part in (values, norms, inverses, coefficients))


def rows_at_once(program: Program, dtype: np.dtype[Any]) -> int:
    """Return how many items' roots of variances are held at once."""
    numbers = 5 * int(program.gains.shape[1]) + program.coefficients
    return max(1, min(_MOST_ROWS, _SIDE_BYTES // (numbers * dtype.itemsize)))
