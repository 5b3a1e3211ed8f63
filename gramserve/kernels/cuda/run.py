"""A block of pairs on a device: batches through the stages, then the layers behind readouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, Device, Stream, namespace_of
from gramserve.errors import DeviceMemoryError
from gramserve.kernels.cuda.emit import STAGE_THREADS
from gramserve.kernels.cuda.items import planar_items
from gramserve.kernels.cuda.launches import Batch, SideArrays
from gramserve.kernels.cuda.parts import Part
from gramserve.kernels.cuda.program import Program
from gramserve.kernels.cuda.steps import Branch, NumberChain, SumState, SumTiles
from gramserve.kernels.cuda.variances import doubling, roots_of
from gramserve.kernels.inputs import input_scale, input_vectors
from gramserve.kernels.items import Items
from gramserve.spec import KernelSpec

_STREAMS = 2
"""Batches in flight: while one is copied or begun, the other one computes."""


class Streams:
    """The streams of a device, made once: a pool keeps the memory of each for itself.

    Parameters
    ----------
    device : Device
        Whose.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.main = device.stream()
        """Of items, results and all that is done once for a block."""
        self.batches = tuple(device.stream() for _ in range(_STREAMS))
        """Of batches, in turn."""


_SHARE = 0.8
"""Part of the free memory that batches take."""

_TILES_OF_BATCH = 2**24
_LARGEST_BATCH = 2**20
"""Pairs: enough to keep a card busy for some dozens of milliseconds. More would only take memory
from others, and indices of units stay small."""


@dataclass(frozen=True)
class Block:
    """Items of rows and columns, and which pairs are computed."""

    spec: KernelSpec
    rows: Items
    columns: Items
    row_labels: NDArray[np.intp]
    column_labels: NDArray[np.intp]

    @property
    def is_symmetric(self) -> bool:
        """Whether rows and columns are the same items in the same order."""
        return np.array_equal(self.row_labels, self.column_labels)

    def part(self, part: Part) -> "Block":
        """Return a rectangle of it as a block."""
        return Block(
            self.spec,
            self.rows[part.rows],
            self.columns[part.columns],
            self.row_labels[part.rows],
            self.column_labels[part.columns],
        )

    def pairs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return rows and columns of all pairs; those of the upper triangle where symmetric."""
        size = len(self.rows), len(self.columns)
        found = np.triu_indices(*size[:1]) if self.is_symmetric else np.indices(size).reshape(2, -1)
        return found[0].astype(np.int32), found[1].astype(np.int32)


@dataclass(frozen=True)
class Values:
    """Numbers of all pairs on the device, in the dtype behind the first pool."""

    s: Array
    """(results, n, m)"""
    t: Array | None


def evaluate_block(streams: Streams, program: Program, block: Block) -> dict[str, Values]:
    """Return the numbers of a block behind all layers, by readout.

    Parameters
    ----------
    streams : Streams
        Of the device where it is computed.
    program : Program
        Of the block's network.
    block : Block
        What.

    Returns
    -------
    dict of str to Values
        ``s`` and ``t`` of shape (n, m), on the device and complete; the network itself is ``""``.
        Of a symmetric block only the upper triangle means anything.

    Raises
    ------
    DeviceMemoryError
        When not even one pair fits.
    """
    device, stream = streams.device, streams.main
    with device.guard(), stream:
        late = _upload_sides(device, program, block, program.dtypes.late, stream)
        early = late
        if program.dtypes.early != program.dtypes.late:
            early = _upload_sides(device, program, block, program.dtypes.early, stream)
        values = _base_values(device, program, block, stream)
        stream.synchronize()
        if program.steps.steps:
            _run_batches(streams, (program, block, (early, late)), values)
        found = _run_tail(device, (program, block, late), values, stream)
        stream.synchronize()
    return found


def _upload_sides(
    device: Device, program: Program, block: Block, dtype: np.dtype[Any], stream: Stream
) -> SideArrays:
    spec, shape = block.spec, block.rows.values.shape[1:]
    mine = device.upload(roots_of(spec, shape, block.rows.variances, dtype), stream)
    theirs = device.upload(roots_of(spec, shape, block.columns.variances, dtype), stream)
    # Doubled where memory is fast.
    index = device.upload(doubling(spec, shape), stream)
    theirs = namespace_of(theirs).take(theirs, index, 1)
    places = int(mine.shape[1])
    if not program.steps.steps or dtype != program.dtypes.early:
        return SideArrays(mine, theirs, places, None, None, 0)
    x = device.upload(planar_items(spec, block.rows.values, dtype, scaled=True), stream)
    y = device.upload(planar_items(spec, block.columns.values, dtype, scaled=False), stream)
    entries = int(x.shape[1])
    return SideArrays(mine, theirs, places, x, namespace_of(y).concatenate([y, y], 2), entries)


def _base_values(device: Device, program: Program, block: Block, stream: Stream) -> Values:
    """Return room for what the readouts give, or the products of vectors."""
    dtype = program.dtypes.late
    size = len(block.rows), len(block.columns)
    if program.steps.steps:
        s = device.allocate((program.steps.results, *size), dtype)
        s[...] = 0
    else:
        shape = block.rows.values.shape[1:]
        scale = input_scale(block.spec, shape)
        left = input_vectors(block.spec, block.rows.values, np.float64) * scale
        right = input_vectors(block.spec, block.columns.values, dtype)
        product = device.upload(left.astype(dtype), stream) @ device.upload(right, stream).T
        s = product.reshape(1, *size)
    t = None
    if program.tangent:
        t = device.allocate(s.shape, dtype)
        t[...] = 0
    return Values(s, t)


def batch_size(device: Device, program: Program) -> int:
    """Return how many pairs go through the stages together.

    Parameters
    ----------
    device : Device
        Its free memory decides.
    program : Program
        How much memory a pair takes.

    Returns
    -------
    int
        At least 1.
    """
    room = int(device.free_bytes() * _SHARE) // _STREAMS
    enough = min(_TILES_OF_BATCH // program.tiles_per_pair(), _LARGEST_BATCH)
    return max(1, min(room // program.bytes_per_pair(), enough))


def _run_batches(
    streams: Streams,
    what: tuple[Program, Block, tuple[SideArrays, SideArrays]],
    values: Values,
) -> None:
    """Take all pairs through the stages; where memory runs out, with smaller batches."""
    (program, block, sides), device = what, streams.device
    rows, columns = block.pairs()
    same = (block.row_labels[rows] == block.column_labels[columns]).astype(np.int32)
    size, start, number = batch_size(device, program), 0, 0
    while start < len(rows):
        part = slice(start, start + size)
        stream = streams.batches[number % _STREAMS]
        # What this stream has to do before may still need the memory of its last batch.
        try:
            stream.synchronize()
            with device.guard(), stream:
                pairs = tuple(device.upload(array[part], stream) for array in (rows, columns, same))
                batch = Batch(device, program, sides, pairs, stream)
                batch.run()
                _collect(program, batch, pairs, values)
        except DeviceMemoryError:
            for each in streams.batches:
                each.synchronize()
            if size == 1:
                raise
            size = -(-size // 2)
            continue
        start, number = start + size, number + 1
    for stream in streams.batches:
        stream.synchronize()


def _collect(program: Program, batch: Batch, pairs: tuple[Array, ...], values: Values) -> None:
    """Add up what the units of each pair found, and put it in its place."""
    weights = {
        step.result: step.weight
        for step in program.steps.steps
        if isinstance(step, SumTiles | SumState)
    }
    for result, sums in batch.sums.items():
        for into, found in zip((values.s, values.t), sums, strict=True):
            if into is not None and found is not None:
                total = found.sum(axis=1) * weights[result]
                into[result, pairs[0], pairs[1]] = total.astype(into.dtype)


def _run_tail(
    device: Device, what: tuple[Program, Block, SideArrays], values: Values, stream: Stream
) -> dict[str, Values]:
    """Take the numbers of a block through the layers on single numbers, in place."""
    program, block, sides = what
    found = {"": _result(values, 0)}
    labels = np.unique(
        np.concatenate([block.row_labels, block.column_labels]), return_inverse=True
    )[1].astype(np.int32)
    x_labels = device.upload(labels[: len(block.rows)], stream)
    y_labels = device.upload(labels[len(block.rows) :], stream)
    names = iter(program.kernels.tail)
    count = len(block.rows) * len(block.columns)
    for part in program.steps.tail:
        match part:
            case Branch():
                base = found[""] if part.result is None else _result(values, part.result)
                found[part.readout] = Values(*_copies(base))
            case NumberChain():
                numbers = found[part.readout]
                sizes = np.int32(len(block.rows)), np.int32(len(block.columns))
                cursor = np.int32(part.chain.number), np.int32(part.chain.variance)
                arguments = (*sides.roots, *sizes, x_labels, y_labels, numbers.s, numbers.t)
                program.module.launch(
                    next(names),
                    -(-count // STAGE_THREADS),
                    STAGE_THREADS,
                    (*arguments, *cursor),
                    stream=stream,
                )
    return found


def _result(values: Values, number: int) -> Values:
    return Values(values.s[number], None if values.t is None else values.t[number])


def _copies(values: Values) -> Iterator[Array | None]:
    for array in (values.s, values.t):
        yield None if array is None else namespace_of(array).array(array)
