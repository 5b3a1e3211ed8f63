"""Networks written as the tables of :mod:`gramserve.kernels.cpu.tables`."""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.closed_forms import EXPONENTIAL, RAMP, describe_dual
from gramserve.kernels.convolution import patch_scale
from gramserve.kernels.cpu.states import place_states, read_planes, state_positions
from gramserve.kernels.cpu.tables import (
    ADD_UP,
    ALONE,
    CONV,
    CONV_IN_PLACE,
    FORK,
    JOIN,
    KEEP,
    NEXT,
    OP_COLUMNS,
    POOL,
    PROJECT,
    SCALE,
    STAGE_COLUMNS,
    Program,
    Series,
    TapOps,
)
from gramserve.kernels.inputs import input_scale, input_width
from gramserve.kernels.pooling import axis_weights
from gramserve.spec import KernelSpec, layers
from gramserve.stages import (
    Fork,
    Offset,
    Stage,
    Stages,
    Step,
    averages_variances,
    cut_stages,
    plane_entries,
)

_LARGEST_SINGLE = 1e38
"""Above that, a number is not one of float32."""


class _Writer:
    """Collects the tables."""

    def __init__(self, network: Stages, variances: int) -> None:
        self.network = network
        self.ops: list[list[int]] = []
        self.begin = 0
        """First op of the stage that is being written."""
        self.stages: list[list[int]] = []
        self.planes: list[Offset] = []
        self.tables: list[int] = []
        self.floats: list[float] = []
        self.gains = np.ones((2, max(1, variances)))
        self.largest_plane = self.widest = self.strips = 1
        self.series: list[Series] = []
        self.coefficients = self.tail_series = 0
        self.depth = self.deepest = self.lifted = 0
        self.state_tables: dict[int | None, tuple[int, int]] = {}
        self.state_places, self.state_entries = place_states(network)

    def keep(self, *numbers: float) -> int:
        self.floats += numbers
        return len(self.floats) - len(numbers)

    def add_op(self, kind: int, columns: dict[int, int] | None = None) -> None:
        row = [kind, *[0] * (OP_COLUMNS - 1)]
        for column, value in (columns or {}).items():
            row[column] = value
        self.ops.append(row)

    def add_steps(self, steps: Sequence[Step | Fork]) -> None:
        for step in steps:
            if isinstance(step, Fork):
                self._add_fork(step)
            else:
                self.add_step(step)

    def _add_fork(self, fork: Fork) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        depth = {16: self.depth - 1}
        self.add_op(FORK, depth)
        for number, branch in enumerate(fork.branches):
            if number:
                self.add_op(NEXT, depth | {17: number == 1})
            self.add_steps(branch)
        several = len(fork.branches) > 1
        self.add_op(JOIN, depth | {14: self.keep(fork.weight), 17: several})
        self.depth -= 1

    def add_step(self, step: Step) -> None:
        """Write one layer, and note when it can be done along with the convolution before."""
        layer = step.layer
        self.largest_plane = max(self.largest_plane, prod(step.before), prod(step.after))
        self.widest = max(self.widest, step.before[1], step.after[1])
        match layer:
            case layers.ConvLocal():
                self.add_convolution(step)
                self.add_op(ALONE)
            case layers.Conv() | layers.Dense():
                self.add_convolution(step)
            case layers.Linear():
                self.add_op(SCALE, {14: self.keep(layer.factor, 0.0)})
            case _:
                kind, numbers, degree = describe_dual(layer)
                if kind in {RAMP, EXPONENTIAL}:
                    self._join_to_convolution(step, kind, numbers[0])
                numbers = (*numbers, *[0.0] * (4 - len(numbers)))
                if averages_variances(layer) and step.before != (1, 1):
                    degree = 1
                variance = step.variance or 0
                where = {12: step.before[0], 13: step.before[1], 16: variance}
                where |= {14: self.keep(*numbers), 17: degree}
                self.add_op(kind, where | self._add_series(step))
                if getattr(layer, "project", False):
                    self.add_op(PROJECT, where)

    def _add_series(self, step: Step) -> dict[int, int]:
        """Note what the coefficients of a numeric activation are made of, and where they are."""
        layer = step.layer
        if not isinstance(layer, layers.Numeric):
            return {}
        base, positions = self.coefficients, prod(step.before)
        where = step.variance or 0
        self.series.append(Series(layer.function, layer.degree, where, positions, base))
        self.coefficients += 2 * layer.degree * positions
        return {15: base}

    def _join_to_convolution(self, step: Step, kind: int, number: float) -> None:
        """Note that a dual can be taken along with the convolution before it, and its factors."""
        if len(self.ops) == self.begin or self.ops[-1][0] != CONV_IN_PLACE:
            return
        factor, bias = self.floats[self.ops[-1][14] : self.ops[-1][14] + 2]
        assert step.variance is not None  # noqa: S101 - both kinds need variances
        if factor > 0 and bias / factor < _LARGEST_SINGLE:
            part = slice(step.variance, step.variance + prod(step.before))
            gain, cosine = (number, factor) if kind == RAMP else (1.0, factor * number)
            self.gains[:, part] = [[gain], [cosine]]
            # What stands behind factor and bias: of sums that are not multiplied yet.
            self.floats += [bias / factor, factor * gain]
            self.ops[-1][15] = 1

    def add_convolution(self, step: Step) -> None:
        layer, (down, across) = step.layer, step.windows
        assert isinstance(layer, layers.Conv | layers.ConvLocal | layers.Dense)  # noqa: S101
        factor = layer.w_std**2
        if not isinstance(layer, layers.Dense):
            factor *= patch_scale(layer)
        windows = {
            column: getattr(window, name)
            for place, name in enumerate(("size", "stride", "dilation", "low", "fill"))
            for column, window in ((1 + 2 * place, down), (2 + 2 * place, across))
        }
        kind = CONV
        if step.before == step.after:
            shapes = {
                (window.size, window.stride, window.dilation, window.low, window.fill)
                for window in step.windows
            }
            if shapes == {(3, 1, 1, 1, 1)}:
                kind = CONV_IN_PLACE
            elif all(shape[0] == 1 and shape[1] == shape[4] == 1 for shape in shapes):
                kind = SCALE
        if isinstance(layer, layers.Conv) and layer.padding == "circular":
            kind = CONV
        numbers = self.keep(factor, layer.b_std**2)
        after = {11: layer.trainable, 12: step.after[0], 13: step.after[1], 14: numbers}
        self.add_op(kind, windows | after)

    def add_stage(self, stage: Stage) -> None:
        """Write a stage."""
        if not stage.planes:
            return
        front = -1
        if stage.front is not None:
            front = len(self.ops)
            self.add_step(stage.front)
            self.ops[front][0] = CONV
            is_circular = getattr(stage.front.layer, "padding", "") == "circular"
            self.ops[front][15] = is_circular
            if is_circular:  # the plane it reads is as long as all taps
                self.ops[front][16:18] = self.ops[front][7:9]
                self.ops[front][7:9] = [0, 0]
            extended = [
                length + (window.size - 1) * window.dilation + window.stride
                for length, window in zip(stage.front.before, stage.front.windows, strict=True)
            ]
            self.largest_plane = max(self.largest_plane, prod(extended))
            self.widest = max(self.widest, extended[1])
        first_op, first_plane = len(self.ops), len(self.planes)
        self.begin = first_op
        self.largest_plane = max(self.largest_plane, prod(stage.before))
        self.widest = max(self.widest, stage.before[1])
        self.add_steps(stage.steps)
        moves = sum(op[0] == CONV_IN_PLACE for op in self.ops[first_op:])
        self.lifted = max(self.lifted, moves)
        self.planes += stage.planes
        table, entries = self.state_table(stage.writes)
        read = -1 if stage.reads is None else self.state_table(stage.reads)[0]
        weight, kind, pool = stage.weight, KEEP, [*stage.behind, *[0] * 9]
        if isinstance(stage.exit, layers.AvgPool | layers.SumPool | layers.CknPool):
            kind, pool = POOL, self._pool(stage)
        elif stage.exit is not None:
            kind, weight = ADD_UP, _readout_scale(stage)
        before_front = (1, 1) if stage.front is None else stage.front.before
        self.stages.append([
            first_op, len(self.ops), *stage.before, *stage.after, *stage.scale, first_plane,
            len(self.planes), read, kind, table, entries, self.state_places[stage.writes],
            not stage.adds, self.keep(weight), front, *before_front, moves, *pool,
        ])  # fmt: skip

    def add_tails(self) -> tuple[tuple[int, ...], tuple[TapOps, ...], list[int]]:
        """Write the layers on single numbers; return where they are, and the states before."""
        network = self.network
        self.begin, self.tail_series = len(self.ops), self.coefficients
        points = sorted({tap.shared for tap in network.taps if tap.shared is not None})
        bounds = [0, *points, len(network.tail)]
        tail = [self.begin]
        for start, stop in itertools.pairwise(bounds):
            self.add_steps(network.tail[start:stop])
            tail.append(len(self.ops))
        results = [] if network.result is None else [network.result]
        taps = []
        for tap in network.taps:
            result, shared = None, 0
            if tap.shared is None:
                assert tap.reads is not None  # noqa: S101 - it has pools of its own
                result = len(results)
                results.append(tap.reads)
            else:
                shared = 1 + points.index(tap.shared)
            first = self.begin = len(self.ops)
            self.add_steps(tap.tail)
            taps.append(TapOps(tap.name, result, shared, (first, len(self.ops))))
        return tuple(tail), tuple(taps), results

    def _pool(self, stage: Stage) -> list[int]:
        down, across = stage.windows
        assert isinstance(stage.exit, layers.AvgPool | layers.SumPool | layers.CknPool)  # noqa: S101
        weights = [
            self.keep(*axis_weights(stage.exit, *numbers).ravel())
            for numbers in zip(stage.windows, stage.after, stage.behind, strict=True)
        ]
        tall = stage.behind[0]
        offsets = sorted({a for a, _ in self.network_planes(stage.writes)})
        table, rows = [-1] * (2 * tall - 1), 0
        for a in offsets:
            table[a + tall - 1] = rows
            rows += tall - abs(a)
        where = len(self.tables)
        self.tables += table
        self.strips = max(self.strips, rows * stage.after[1])
        return [
            *stage.behind, down.size, across.size, down.stride, across.stride, down.low,
            across.low, *weights, where,
        ]  # fmt: skip

    def network_planes(self, state: int) -> set[Offset]:
        """Return the planes of a state that are read."""
        return read_planes(self.network, state)

    def state_table(self, state: int) -> tuple[int, int]:
        """Return table and entries of a state."""
        if state not in self.state_tables:
            height, width = state_positions(self.network, state)
            table = np.full((2 * height - 1, 2 * width - 1), -1, np.int64)
            entries = 0
            for a, b in sorted(self.network_planes(state)):
                table[a + height - 1, b + width - 1] = self.state_places[state] + entries
                entries += plane_entries((height, width), (a, b))
            self.state_tables[state] = len(self.tables), entries
            self.tables += table.ravel().tolist()
        return self.state_tables[state]


def _readout_scale(stage: Stage) -> float:
    count = prod(stage.after)
    match stage.exit:
        case layers.Flatten(average=True):
            return 1 / count
        case layers.GlobalAvgPool():
            return 1 / count**2
        case _:
            return 1.0


def write_program(
    spec: KernelSpec, item_shape: Sequence[int], variances: int, *, for_variances: bool = False
) -> Program:
    """Return the tables of a network for items of one shape.

    Parameters
    ----------
    spec : KernelSpec
        A kernel for which :func:`gramserve.kernels.cpu.activations.find_unsupported` is None.
    item_shape : sequence of int
        Shape of one item.
    variances : int
        V, how many variances an item has.
    for_variances : bool
        Only what the variances of items need.

    Returns
    -------
    Program
        For compiled code.
    """
    network = cut_stages(spec, item_shape, for_variances=for_variances)
    writer = _Writer(network, variances)
    late = -1
    for stage in network.stages:
        writer.add_stage(stage)
        if stage.exit is not None and late < 0:
            late = len(writer.stages)
    tail, taps, results = writer.add_tails()

    def table(rows: Any, columns: int) -> NDArray[np.int64]:
        return np.array(rows, np.int64).reshape(-1, columns)

    return Program(
        ops=table(writer.ops, OP_COLUMNS),
        stages=table(writer.stages, STAGE_COLUMNS),
        tail=tail,
        taps=taps,
        planes=table(writer.planes, 2),
        tables=np.array([*writer.tables, -1], np.int64),
        floats=np.array([*writer.floats, 1.0, 0.0]),
        gains=writer.gains,
        channels=input_width(spec, item_shape),
        channel_scale=input_scale(spec, item_shape),
        # One row of zeros, and one above the plane for every convolution that moves it up.
        plane_entries=writer.largest_plane + (writer.lifted + 1) * writer.widest,
        row_entries=writer.widest,
        strip_entries=writer.strips,
        state_entries=writer.state_entries,
        results=np.array([writer.state_places[state] for state in results], np.int64),
        series=tuple(writer.series),
        tail_series=writer.tail_series,
        coefficients=writer.coefficients,
        fork_depth=writer.deepest,
        late_stage=max(late, 0),
    )
