"""Blocks of pairs: shared out to threads, then taken through the layers behind the readout."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.cpu.run import (
    VECTOR_BYTES,
    Room,
    aligned,
    coefficients_of,
    in_lanes,
    lanes_of,
    my_side,
    roots_of,
    rows_at_once,
    your_side,
)
from gramserve.kernels.cpu.tables import Program
from gramserve.kernels.items import Items
from gramserve.spec import KernelSpec

_FEWEST_ROWS = 8
"""Items that are taken through in one call, at least, where several threads share a block."""

_PARTS_PER_THREAD = 6
"""Calls of a thread, about, where there are rows enough: threads end at most one of them apart."""

_TAIL_BYTES = 2**17
"""Size of the part of a block that goes through the tail at once: it stays in the cache."""


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
    """``S`` (and ``T``) of all pairs, (1 or 2, results, n, m filled up to whole vectors)."""

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
        yours = your_side(
            block.spec, block.program, block.columns, group, early.dtype, ntk=block.ntk
        )
        last = len(block.program.stages)
        results = len(block.program.results)
        shape = (len(marks), results * early.lanes)
        out = (np.zeros(shape, early.dtype), np.zeros(shape, early.dtype))
        if late is None:
            early.evaluate((0, last), mine, yours, marks, out)
            for values, part in zip(block.values, out, strict=False):
                for number in range(results):
                    lanes = slice(number * early.lanes, (number + 1) * early.lanes)
                    values[number, rows, start : start + early.lanes] = part[:, lanes]
            return
        middle = block.program.late_stage
        sides = [
            (
                slice(part, part + late.lanes),
                your_side(
                    block.spec,
                    block.program,
                    block.columns,
                    group[part:][: late.lanes],
                    late.dtype,
                    ntk=block.ntk,
                ),
            )
            for part in range(0, early.lanes, late.lanes)
        ]
        shape = (1, results * late.lanes)
        found = (np.zeros(shape, late.dtype), np.zeros(shape, late.dtype))
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
                    values[:, rows.start + row, place] = part.reshape(results, late.lanes)

    def _prepare(self, rows: slice) -> None:
        """Prepare rows unless they are the last ones, or the first of these."""
        known = self._rows
        if known is not None and known.start == rows.start and known.stop >= rows.stop:
            return
        spec, program, items = self._block.spec, self._block.program, self._block.rows
        rooms = [self._early] if self._late is None else [self._early, self._late]
        self._mine = [
            my_side(spec, program, items, rows, room.dtype, ntk=self._block.ntk) for room in rooms
        ]
        self._rows = rows


def evaluate_tail(
    block: Block,
    ops: tuple[int, int],
    values: NDArray[Any],
    first_variance: int,
    *,
    has_tangent: bool,
) -> None:
    """Take the numbers of a block through layers behind the readout, in place.

    Parameters
    ----------
    block : Block
        The block.
    ops : (int, int)
        First op, and the one after the last.
    values : ndarray, (1 or 2, n, m filled up to whole vectors)
        ``S`` (and ``T``).
    first_variance : int
        The first variance of all such layers.
    has_tangent : bool
        Whether ``T`` is there, or still zero.
    """
    program, dtype = block.program, block.late
    if ops[0] == ops[1]:
        return
    lanes = lanes_of(dtype)
    room = Room(program, dtype, ntk=block.ntk, for_tail=True)
    vectors = values.shape[2] // lanes
    step = max(1, _TAIL_BYTES // (vectors * VECTOR_BYTES))
    padded = np.minimum(np.arange(vectors * lanes), len(block.columns) - 1)
    their_variances = block.columns.variances[padded]
    roots = roots_of(their_variances[:, first_variance:], dtype)
    terms = coefficients_of(program, their_variances, dtype, ntk=block.ntk, behind=True)
    # By variance, then by item: a vector is the same variance of neighbouring items.
    yours = (
        aligned((lanes,), dtype),
        *(in_lanes(part, dtype) for part in (*roots, terms)),
    )
    terms = coefficients_of(program, block.rows.variances, dtype, ntk=block.ntk, behind=True)
    roots = roots_of(block.rows.variances[:, first_variance:], dtype)
    labels = block.column_labels[padded]
    no_marks = aligned((1, lanes), dtype)
    for start in range(0, len(block.rows), step):
        rows = slice(start, min(start + step, len(block.rows)))
        norms, inverses, own_terms = (
            np.ascontiguousarray(part[rows].T, dtype).reshape(1, -1) for part in (*roots, terms)
        )
        same = block.row_labels[rows, None] == labels[None]
        marks = same.astype(dtype).reshape(1, -1) if same.any() else no_marks
        stage = program.tail_stage(
            ops, rows.stop - start, vectors, first_variance, has_tangent=has_tangent
        )
        mine = (norms, norms, inverses, norms, inverses, own_terms)
        parts = tuple(part[rows].reshape(-1) for part in values)
        room.evaluate_tail(stage, mine, yours, marks, parts)


def evaluate_tails(
    block: Block, first_variance: int, *, has_tangent: bool
) -> dict[str, NDArray[Any]]:
    """Take the numbers of a block through all layers behind readouts.

    Parameters
    ----------
    block : Block
        Its values are what those layers begin with; overwritten.
    first_variance : int
        The first variance of these layers.
    has_tangent : bool
        Whether ``T`` is there, or still zero.

    Returns
    -------
    dict of ndarray, (1 or 2, n, m filled up to whole vectors)
        By the name of the readout; the network itself has none, ``""``.
    """
    program = block.program
    main = block.values[:, 0]
    found: dict[str, NDArray[Any]] = {"": main}
    for tap in program.taps:
        if tap.result is not None:
            found[tap.name] = block.values[:, tap.result]
            evaluate_tail(block, tap.ops, found[tap.name], first_variance, has_tangent=has_tangent)
    for point, ops in enumerate(itertools.pairwise(program.tail), 1):
        evaluate_tail(block, ops, main, first_variance, has_tangent=has_tangent)
        has_tangent = has_tangent or ops[0] < ops[1]
        for tap in program.taps:
            if tap.result is None and tap.shared == point:
                found[tap.name] = aligned(main.shape, main.dtype)
                found[tap.name][...] = main
                evaluate_tail(
                    block, tap.ops, found[tap.name], first_variance, has_tangent=has_tangent
                )
    return found
