"""Blocks taken through a program: buffers of one thread, groups of items, threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.cpu.tables import Program
from gramserve.kernels.inputs import input_vectors
from gramserve.kernels.items import Items
from gramserve.spec import KernelSpec

VECTOR_BYTES = 64

_MOST_ROWS = 128
"""Items that are taken through in one call, at most: nothing interrupts it."""

_FEWEST_ROWS = 8
"""Items that are taken through in one call, at least, where several threads share a block."""

_PARTS_PER_THREAD = 6
"""Calls of a thread, about, where there are rows enough: threads end at most one of them apart."""

_SIDE_BYTES = 2**24
"""Memory for what a call reads of these items."""

_COSINE_ROUNDING = 5.0
"""Error of a cosine near 1 after some layers, in units of the machine epsilon."""

_TAIL_BYTES = 2**17
"""Size of the part of a block that goes through the tail at once: it stays in the cache."""

_ONE_PLANE = np.zeros((1, 2), np.int64)


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
            (program.row_entries, program.plane_entries, program.result), out, recorded,
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
        self._run(stage, (0, 1), _ONE_PLANE, mine, yours, marks, buffers, (0, entries, -1), out,
                  recorded)  # fmt: skip

    def _run(
        self,
        stages: NDArray[np.int64],
        run: tuple[int, int],
        planes: NDArray[np.int64],
        mine: tuple[NDArray[Any], ...],
        yours: tuple[NDArray[Any], ...],
        marks: NDArray[Any],
        buffers: list[NDArray[Any]],
        sizes: tuple[int, int, int],
        out: tuple[NDArray[Any], NDArray[Any]],
        recorded: NDArray[Any] | None,
    ) -> None:
        # Numba takes a second to import, and compiled code some milliseconds to load.
        from gramserve.kernels.cpu.evaluate import evaluate  # noqa: PLC0415

        program, (widest, room, result) = self.program, sizes
        evaluate(
            program.ops, stages, *run, planes, program.tables, self._floats, self._tiny,
            program.channels, *mine, *yours, marks,
            marks.any(axis=1), self._nothing if recorded is None else recorded,
            recorded is not None, *buffers, self._kept, widest, room, self.lanes,
            self.ntk, result, *out,
        )  # fmt: skip


def my_side(
    spec: KernelSpec, program: Program, items: Items, rows: slice, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], ...]:
    """Return values, norms, inverses and both with the factors of ops done along, row by row."""
    norms, inverses = roots_of(items.variances[rows], dtype)
    gains = program.gains.astype(dtype)
    with np.errstate(over="ignore"):  # what overflows here is found in the result
        values = input_vectors(spec, items.values[rows], dtype).reshape(len(norms), -1)
        values = np.ascontiguousarray(values)
        if program.channel_scale != 1:
            values = values * dtype.type(program.channel_scale)
    return values, norms, inverses, norms * gains[0], inverses * gains[1]


def your_side(
    spec: KernelSpec, items: Items, group: NDArray[np.intp], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], ...]:
    """Return values, norms and inverses of a group, one lane an item."""
    norms, inverses = roots_of(items.variances[group], dtype)
    with np.errstate(over="ignore"):  # what overflows here is found in the result
        values = input_vectors(spec, items.values[group], dtype).reshape(len(group), -1)
    return tuple(in_lanes(part, dtype) for part in (values, norms, inverses))


def rows_at_once(program: Program, dtype: np.dtype[Any]) -> int:
    """Return how many items' roots of variances are held at once."""
    numbers = 5 * int(program.gains.shape[1])
    return max(1, min(_MOST_ROWS, _SIDE_BYTES // (numbers * dtype.itemsize)))


@dataclass(frozen=True)
class Block:
    """One block: what all threads read, and where they write."""

    spec: KernelSpec
    program: Program
    rows: Items
    columns: Items
    row_labels: NDArray[np.intp]
    column_labels: NDArray[np.intp]
    early: np.dtype[Any]
    """Dtype before the first pool."""
    late: np.dtype[Any]
    """Dtype behind it."""
    ntk: bool
    values: NDArray[Any]
    """``S`` (and ``T``) of all pairs, (1 or 2, n, m filled up to whole vectors)."""

    @property
    def is_symmetric(self) -> bool:
        """Whether rows and columns are the same items in the same order."""
        return np.array_equal(self.row_labels, self.column_labels)

    def parts(self, threads: int) -> Iterator[tuple[slice, int]]:
        """Yield rows and the first column of a group; the upper triangle where symmetric.

        Several parts for each thread, those with most rows first, so that all end together.
        """
        lanes = lanes_of(self.early)
        step = rows_at_once(self.program, self.early)
        if threads > 1:
            groups = -(-len(self.columns) // lanes)
            wanted = -(-_PARTS_PER_THREAD * threads // groups)
            step = min(step, max(_FEWEST_ROWS, -(-len(self.rows) // wanted)))
        for first in range(0, len(self.rows), step):
            for start in reversed(range(0, len(self.columns), lanes)):
                stop = min(first + step, len(self.rows))
                if self.is_symmetric:
                    stop = min(start + lanes, stop)
                if first < stop:
                    yield slice(first, stop), start

    def room(self) -> tuple[Room, Room | None]:
        """Return the buffers of one thread: before and, in another dtype, behind the first pool."""
        late = None
        if self.late != self.early and self.program.late_stage < len(self.program.stages):
            late = Room(self.program, self.late, ntk=self.ntk)
        return Room(self.program, self.early, ntk=self.ntk), late


def evaluate_block(block: Block, threads: int) -> None:
    """Fill a block's values with the numbers behind the readout.

    Parameters
    ----------
    block : Block
        The block.
    threads : int
        Threads that share the work.
    """
    parts: SimpleQueue[tuple[slice, int]] = SimpleQueue()
    for part in block.parts(threads):
        parts.put(part)

    def work() -> None:
        worker = _Worker(block)
        with suppress(Empty):
            while True:
                worker.evaluate(*parts.get_nowait())

    if threads == 1:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work) for _ in range(threads)]
        try:
            for done in running:
                done.result()
        except BaseException:
            # Interrupted, or out of memory: the others end with the part they are at.
            with suppress(Empty):
                while True:
                    parts.get_nowait()
            raise


class _Worker:
    """One thread: its buffers, and what it has prepared of the rows it works on."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._early, self._late = block.room()
        self._rows: slice | None = None
        self._mine: list[tuple[NDArray[Any], ...]] = []

    def evaluate(self, rows: slice, start: int) -> None:
        """Take rows against the group of columns that begins at ``start``."""
        block, early, late = self._block, self._early, self._late
        self._prepare(rows)
        mine = tuple(part[: rows.stop - rows.start] for part in self._mine[0])
        # A group that is not full repeats its last item.
        group = np.minimum(np.arange(start, start + early.lanes), len(block.columns) - 1)
        labels = block.row_labels[rows], block.column_labels[group]
        marks = np.equal.outer(*labels).astype(early.dtype)
        yours = your_side(block.spec, block.columns, group, early.dtype)
        last = len(block.program.stages)
        out = (np.zeros_like(marks), np.zeros_like(marks))
        if late is None:
            early.evaluate((0, last), mine, yours, marks, out)
            for values, part in zip(block.values, out, strict=False):
                values[rows, start : start + early.lanes] = part
            return
        middle = block.program.late_stage
        sides = [
            (
                slice(part, part + late.lanes),
                your_side(block.spec, block.columns, group[part:][: late.lanes], late.dtype),
            )
            for part in range(0, early.lanes, late.lanes)
        ]
        found = (np.zeros((1, late.lanes), late.dtype), np.zeros((1, late.lanes), late.dtype))
        for row in range(len(marks)):
            one = slice(row, row + 1)
            first, second = (tuple(part[one] for part in side) for side in self._mine)
            early.evaluate((0, middle), first, yours, marks[one], (out[0][one], out[1][one]))
            for lanes, side in sides:
                for into, state in zip(late.states, early.states, strict=True):
                    if len(into) == len(state):
                        into[...] = state[:, lanes]
                same = marks[one, lanes].astype(late.dtype)
                late.evaluate((middle, last), second, side, same, found)
                place = slice(start + lanes.start, start + lanes.stop)
                for values, part in zip(block.values, found, strict=False):
                    values[rows.start + row, place] = part[0]

    def _prepare(self, rows: slice) -> None:
        """Prepare rows unless they are the last ones, or the first of these."""
        known = self._rows
        if known is not None and known.start == rows.start and known.stop >= rows.stop:
            return
        spec, program, items = self._block.spec, self._block.program, self._block.rows
        rooms = [self._early] if self._late is None else [self._early, self._late]
        self._mine = [my_side(spec, program, items, rows, room.dtype) for room in rooms]
        self._rows = rows


def evaluate_tail(block: Block, first_variance: int, *, has_tangent: bool) -> None:
    """Take the numbers of a block through the layers behind the readout, in place.

    Parameters
    ----------
    block : Block
        Its values are the input.
    first_variance : int
        The first variance of these layers.
    has_tangent : bool
        Whether ``T`` is there, or still zero.
    """
    program, dtype = block.program, block.late
    if program.tail[0] == program.tail[1]:
        return
    lanes = lanes_of(dtype)
    room = Room(program, dtype, ntk=block.ntk, for_tail=True)
    vectors = block.values.shape[2] // lanes
    step = max(1, _TAIL_BYTES // (vectors * VECTOR_BYTES))
    padded = np.minimum(np.arange(vectors * lanes), len(block.columns) - 1)
    roots = roots_of(block.columns.variances[padded, first_variance:], dtype)
    # By variance, then by item: a vector is the same variance of neighbouring items.
    yours = (
        aligned((lanes,), dtype),
        *(in_lanes(part, dtype) for part in roots),
    )
    roots = roots_of(block.rows.variances[:, first_variance:], dtype)
    labels = block.column_labels[padded]
    no_marks = aligned((1, lanes), dtype)
    for start in range(0, len(block.rows), step):
        rows = slice(start, min(start + step, len(block.rows)))
        norms, inverses = (
            np.ascontiguousarray(part[rows].T, dtype).reshape(1, -1) for part in roots
        )
        same = block.row_labels[rows, None] == labels[None]
        marks = same.astype(dtype).reshape(1, -1) if same.any() else no_marks
        stage = program.tail_stage(
            rows.stop - start, vectors, first_variance, has_tangent=has_tangent
        )
        mine = (norms, norms, inverses, norms, inverses)
        room.evaluate_tail(
            stage, mine, yours, marks, tuple(v[rows].reshape(-1) for v in block.values)
        )
