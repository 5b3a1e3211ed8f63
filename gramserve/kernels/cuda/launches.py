"""The arguments of each kernel, in the order in which the sources declare them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gramserve.arrays import Array, Device, Stream
from gramserve.kernels.cuda.emit import DENSE_THREADS, STAGE_THREADS
from gramserve.kernels.cuda.program import Program
from gramserve.kernels.cuda.steps import (
    ChangeEntries,
    Convolve,
    CopyState,
    KeepTiles,
    MakeProducts,
    PoolAxis,
    PoolTiles,
    Step,
    SumState,
    SumTiles,
    Taps,
)
from gramserve.kernels.cuda.tiles import STAGE_WARPS, TileForm, window_bytes

Argument = Any
"""An array of the device, a NumPy scalar, or None for a null pointer."""


@dataclass(frozen=True)
class SideArrays:
    """What the kernels read of the items of a block, in one dtype."""

    roots_x: Array
    roots_y: Array
    places: int
    """Roots of an item of x."""
    items_x: Array | None
    items_y: Array | None
    entries: int
    """Of the vectors of an item."""

    @property
    def roots(self) -> tuple[Argument, ...]:
        """Arguments of variances."""
        return self.roots_x, self.roots_y, np.int32(self.places)

    @property
    def items(self) -> tuple[Argument, ...]:
        """Arguments of items."""
        return self.items_x, self.items_y, np.int32(self.entries)


@dataclass(frozen=True)
class StateArrays:
    """A state of a batch on the device; arrays that it does not have are None."""

    s: Array
    t: Array | None
    more_s: Array | None
    more_t: Array | None

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The four pointers."""
        return self.s, self.t, self.more_s, self.more_t


class Batch:
    """Pairs that go through a network together.

    Parameters
    ----------
    device : Device
        Where.
    program : Program
        The network.
    sides : (SideArrays, SideArrays)
        The block's items, in the dtypes before and behind the first pool.
    pairs : tuple of array of int32
        Rows, columns, and 1 where both are one item; on the device.
    stream : Stream
        Where everything happens.
    """

    def __init__(
        self,
        device: Device,
        program: Program,
        sides: tuple[SideArrays, SideArrays],
        pairs: tuple[Array, ...],
        stream: Stream,
    ) -> None:
        self._device, self._program = device, program
        self._sides = sides
        self._count = len(pairs[0])
        self._pairs = (*pairs, np.int32(self._count))
        self._stream = stream
        self._states: dict[int, StateArrays] = {}
        self.sums: dict[int, tuple[Array, Array | None]] = {}
        """Of each result, sums of S and of T, (pairs, parts), not weighted."""

    def run(self) -> None:
        """Launch all steps; states are freed when the last step that reads them is launched."""
        last = self._program.steps.last_use()
        for index, step in enumerate(self._program.steps.steps):
            self._launch(index, step)
            for state in [state for state in self._states if last[state] <= index]:
                del self._states[state]

    def _state(self, number: int) -> StateArrays:
        """Return a state, made when it is used first."""
        if number not in self._states:
            form = self._program.steps.states[number]
            size = (self._count, form.entries // (1 + form.is_split))
            dtype = self._program.dtype_of(form)

            def make(wanted: bool) -> Array | None:
                return self._device.allocate(size, dtype) if wanted else None

            tangent, split = self._program.tangent, form.is_split
            self._states[number] = StateArrays(
                make(True), make(tangent), make(split), make(split and tangent)
            )
        return self._states[number]

    def _kept(self, number: int) -> tuple[Argument, ...]:
        """Return a state as ``State`` of the sources."""
        offsets = self._program.steps.states[number].offsets
        _, row_slots, _, column_slots = self._program.tables[number]
        sizes = np.int32(len(offsets.rows)), np.int32(len(offsets.columns))
        return (*self._state(number).arguments, row_slots, column_slots, *sizes)

    def _dense(self, number: int) -> tuple[Argument, ...]:
        """Return a state as ``Dense`` of the sources."""
        form = self._program.steps.states[number]
        rows, row_slots, columns, column_slots = self._program.tables[number]
        down = np.int32(form.positions[0]), np.int32(len(form.offsets.rows)), rows, row_slots
        across = (
            np.int32(form.positions[1]),
            np.int32(len(form.offsets.columns)),
            columns,
            column_slots,
        )
        return (*self._state(number).arguments, *down, *across)

    def _dense_grid(self, number: int) -> int:
        form = self._program.steps.states[number]
        entries = self._count * (form.entries // (1 + form.is_split))
        return -(-entries // DENSE_THREADS)

    def _tile_grid(self, tile: TileForm, parts: int) -> int:
        warps = -(-self._count * parts // tile.groups)
        return -(-warps // STAGE_WARPS)

    def _put(
        self,
        index: int,
        grid: int,
        arguments: tuple[Argument, ...],
        *,
        block: int = DENSE_THREADS,
        shared_bytes: int = 0,
    ) -> None:
        self._program.module.launch(
            self._program.kernels.steps[index],
            grid,
            block,
            arguments,
            shared_bytes=shared_bytes,
            stream=self._stream,
        )

    def _launch(self, index: int, step: Step) -> None:
        sides = self._sides[step.is_late]
        count = np.int32(self._count)
        match step:
            case KeepTiles() | PoolTiles() | SumTiles():
                self._launch_tiles(index, step)
            case MakeProducts():
                arguments = (*sides.items, *self._pairs, *self._dense(step.writes))
                self._put(index, self._dense_grid(step.writes), arguments)
            case ChangeEntries():
                cursor = step.chain.number, step.chain.variance, step.position_stride, step.behind
                arguments = (*sides.roots, *self._pairs, *self._dense(step.writes))
                arguments += tuple(np.int32(number) for number in cursor)
                self._put(index, self._dense_grid(step.writes), arguments)
            case Convolve():
                assert step.reads is not None  # noqa: S101 - it reads a state
                arguments = (*self._dense(step.reads), *self._dense(step.writes), count)
                arguments += tuple(number for taps in step.axes for number in _numbers(taps))
                self._put(index, self._dense_grid(step.writes), (*arguments, np.int32(step.number)))
            case PoolAxis():
                assert step.reads is not None  # noqa: S101 - it reads a state
                taps = step.taps.size, step.taps.stride, step.taps.low, step.weights
                arguments = (*self._dense(step.reads), *self._dense(step.writes), count)
                arguments += tuple(np.int32(number) for number in taps)
                self._put(index, self._dense_grid(step.writes), arguments)
            case CopyState():
                assert step.reads is not None  # noqa: S101 - it reads a state
                form = self._program.steps.states[step.writes]
                weight = self._program.dtype_of(form).type(step.weight)
                arguments = (*self._dense(step.reads), *self._dense(step.writes), count, weight)
                self._put(index, self._dense_grid(step.writes), arguments)
            case SumState():
                assert step.reads is not None  # noqa: S101 - it reads a state
                sums = self._new_sums(step.result, 1)
                arguments = (*self._dense(step.reads), *sums)
                self._put(index, self._count, arguments, shared_bytes=2 * 8 * DENSE_THREADS)

    def _launch_tiles(self, index: int, step: KeepTiles | PoolTiles | SumTiles) -> None:
        sides, tile = self._sides[step.is_late], step.tile
        source = sides.items if step.reads is None else self._kept(step.reads)
        cursor = np.int32(step.chain.number), np.int32(step.chain.variance)
        rows, columns = self._program.schedules[index]
        parts = self._program.parts_of(index)
        schedule = rows, columns, np.int32(len(rows)), np.int32(len(columns))
        common = (*sides.roots, *self._pairs, *source, *cursor, *schedule)
        grid, shared_bytes = self._tile_grid(tile, parts), 0
        match step:
            case SumTiles():
                arguments = (*common, *self._new_sums(step.result, parts))
            case PoolTiles():
                late = self._program.dtypes.late
                arguments = (*common, *self._kept(step.writes), late.type(step.weight))
                dtype = late if step.is_late else self._program.dtypes.early
                shared_bytes = window_bytes(
                    tile, step.window, dtype.itemsize, tangent=self._program.tangent
                )
            case KeepTiles():
                form = self._program.steps.states[step.writes]
                weight = self._program.dtype_of(form).type(step.weight)
                arguments = (*common, *self._kept(step.writes), weight)
        self._put(index, grid, arguments, block=STAGE_THREADS, shared_bytes=shared_bytes)

    def _new_sums(self, result: int, parts: int) -> tuple[Array, Array | None]:
        size = (self._count, parts)
        s = self._device.allocate(size, np.float64)
        t = self._device.allocate(size, np.float64) if self._program.tangent else None
        self.sums[result] = s, t
        return s, t


def _numbers(taps: Taps) -> tuple[np.int32, ...]:
    values = taps.size, taps.stride, taps.dilation, taps.low, taps.fill, int(taps.wraps)
    return tuple(np.int32(value) for value in values)
