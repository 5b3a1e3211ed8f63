"""A network as tables of integers, for :func:`gramserve.kernels.cpu.planes.evaluate_group`.

Columns of ``ops``: kind; of a convolution taps, strides, dilations and low paddings of both axes
(1 to 8), whether it trains (9), positions after it (10, 11), where its factor and bias are (12);
of an activation where its variances begin (1), whether it projects (2), where its weights are (12).

Columns of ``stages``: first and last op (0, 1), positions before and after (2 to 5), strides
(6, 7), first and last plane (8, 9), table of the planes it reads (10), exit (11); of a pool
positions behind it (12, 13), window, stride and padding of both axes (14 to 19), where its
weights are (20, 21), entries and table of the planes it writes (22, 23); of a readout where its
factor is (20).

``floats`` begin with the scale of the input and the rounding of a cosine, which the engine sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.convolution import patch_scale
from gramserve.spec import KernelSpec, layers
from gramserve.stages import Stage, Step, cut_stages, find_unstaged, plane_entries

CONV, RELU = 0, 1
"""Kinds of ops."""

POOL, ADD_UP = 0, 1
"""Exits of stages."""

_OP_COLUMNS, _STAGE_COLUMNS = 13, 24

_RUNS = (
    layers.Conv, layers.Dense, layers.Relu, layers.LeakyRelu, layers.AbRelu, layers.Abs,
    layers.Identity, layers.AvgPool, layers.SumPool, layers.CknPool, layers.GlobalAvgPool,
    layers.GlobalSumPool, layers.Flatten,
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """The tables, and how much room they need."""

    ops: NDArray[np.int64]
    stages: NDArray[np.int64]
    planes: NDArray[np.int64]
    tables: NDArray[np.int64]
    """Entry where a plane begins between two stages, by offset; -1 where it is not needed."""
    floats: NDArray[np.float64]
    plane_entries: int
    """Entries of the largest plane."""
    state_entries: int
    """Entries of all planes between two stages."""
    row_entries: int
    """Entries of the longest row with its margins."""
    margin: int
    """Zero positions on each side of a row."""

    def room(self, *, ntk: bool) -> tuple[int, ...]:
        """Return the vectors of each buffer that a run needs.

        Parameters
        ----------
        ntk : bool
            Whether ``T`` is asked for.

        Returns
        -------
        tuple of int
            Of two planes of ``S``, two of ``T``, a row, and the planes between stages likewise.
        """
        plane, between = self.plane_entries, self.state_entries
        tangent, behind = (plane, between) if ntk else (1, 1)
        return (
            plane, plane, tangent, tangent, self.row_entries, between, between, behind, behind
        )  # fmt: skip


def find_unsupported(spec: KernelSpec) -> str | None:
    """Return why a kernel has no program, or None.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.

    Returns
    -------
    str or None
        Names the layer.
    """
    for index, layer in enumerate(spec.layers):
        if not (
            isinstance(layer, _RUNS)
            or (isinstance(layer, layers.ArcCosine) and layer.order == 1)
            or isinstance(layer, layers.Residual | layers.Concat)
        ):
            return f"layers[{index}] ({layer.type}) has no vectorised dual yet"
    return find_unstaged(spec)


def _rectifier(layer: layers.Layer) -> tuple[float, float]:
    """Return ``alpha, beta`` of ``alpha n k1 + beta S``."""
    match layer:
        case layers.Relu() | layers.ArcCosine():
            return (1.0 if layer.normalized else 0.5), 0.0
        case layers.LeakyRelu():
            negative, positive = layer.alpha, 1.0
        case layers.AbRelu():
            negative, positive = layer.a, layer.b
        case _:
            negative, positive = -1.0, 1.0
    return (negative - positive) ** 2 / 2, negative * positive


def _weights(layer: layers.AvgPool | layers.SumPool | layers.CknPool, size: int) -> list[float]:
    """Return the weights of a pool along one axis of one side."""
    match layer:
        case layers.AvgPool():
            return [1 / size] * size
        case layers.SumPool():
            return [1.0] * size
    if layer.kind == "strided":
        return [0.0] * (size - 1) + [1.0]
    if layer.kind == "average":
        return [1 / size] * size
    half = size // 2
    bell = np.exp(-((np.arange(-half, half + 1) / half) ** 2)) if half else np.ones(1)
    return [float(weight) for weight in bell / bell.sum()]


class _Writer:
    """Collects the tables stage by stage."""

    def __init__(self, channel_scale: float) -> None:
        self.ops: list[list[int]] = []
        self.stages: list[list[int]] = []
        self.planes: list[tuple[int, int]] = []
        self.tables: list[int] = []
        # The second is what the engine takes for the rounding of a cosine.
        self.floats = [channel_scale, 0.0]
        self.variances = 0
        self.largest_plane = self.largest_state = self.widest = self.margin = 1

    def _keep(self, *numbers: float) -> int:
        self.floats += numbers
        return len(self.floats) - len(numbers)

    def add_step(self, step: Step) -> None:
        layer, (down, across) = step.layer, step.windows
        self.largest_plane = max(self.largest_plane, prod(step.before), prod(step.after))
        self.widest = max(self.widest, step.before[1], step.after[1])
        if not isinstance(layer, layers.Conv | layers.Dense):
            project = bool(getattr(layer, "project", False))
            kept = self._keep(*_rectifier(layer))
            op = [RELU, self.variances, project, *[0] * 9, kept]
            self.variances += prod(step.before)
            self.ops.append(op)
            return
        scale = layer.w_std**2 * (patch_scale(layer) if isinstance(layer, layers.Conv) else 1)
        reach = across.dilation * (across.size - 1) + across.stride
        self.margin = max(self.margin, across.low, across.high, reach)
        both = [
            number
            for name in ("size", "stride", "dilation", "low")
            for number in (getattr(down, name), getattr(across, name))
        ]
        kept = self._keep(scale, layer.b_std**2)
        self.ops.append([CONV, *both, layer.trainable, *step.after, kept])

    def add_stage(self, stage: Stage, behind: Stage | None, read: int) -> int:
        """Write a stage; return the table of the planes that the next one reads."""
        first_op, first_plane = len(self.ops), len(self.planes)
        self.largest_plane = max(self.largest_plane, prod(stage.before))
        self.widest = max(self.widest, stage.before[1])
        for step in stage.steps:
            self.add_step(step)
        self.planes += stage.planes
        row = [
            first_op, len(self.ops), *stage.before, *stage.after, *stage.scale, first_plane,
            len(self.planes), read,
        ]  # fmt: skip
        written, entries = self._add_table(behind)
        self.largest_state = max(self.largest_state, entries)
        if isinstance(stage.exit, layers.AvgPool | layers.SumPool | layers.CknPool):
            assert behind is not None  # noqa: S101 - a pool is never the end
            down, across = stage.windows
            weights = [self._keep(*_weights(stage.exit, axis.size)) for axis in (down, across)]
            row += [
                POOL, *behind.before, down.size, across.size, down.stride, across.stride,
                down.low, across.low, *weights, entries, written,
            ]  # fmt: skip
        else:
            row += [ADD_UP, *[0] * 8, self._keep(_readout_scale(stage)), 0, 0, 0]
        self.stages.append(row)
        return written

    def _add_table(self, behind: Stage | None) -> tuple[int, int]:
        where = len(self.tables)
        if behind is None:
            return where, 1
        height, width = behind.before
        table = np.full((2 * height - 1, 2 * width - 1), -1, np.int64)
        entries = 0
        for a, b in behind.start_planes:
            size = plane_entries(behind.before, (a, b))
            if size:
                table[a + height - 1, b + width - 1] = entries
                entries += size
        self.tables += table.ravel().tolist()
        return where, entries


def _readout_scale(stage: Stage) -> float:
    count = prod(stage.after)
    match stage.exit:
        case layers.Flatten(average=True):
            return 1 / count
        case layers.GlobalAvgPool():
            return 1 / count**2
        case _:
            return 1.0


def write_program(spec: KernelSpec, item_shape: Sequence[int]) -> Program:
    """Return the tables of a network for items of one shape.

    Parameters
    ----------
    spec : KernelSpec
        A kernel for which :func:`find_unsupported` is None.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    Program
        For compiled code.
    """
    writer = _Writer(1 / item_shape[-1] if spec.input.channels == "mean" else 1.0)
    stages = cut_stages(spec, item_shape)
    read = 0
    for stage, behind in zip(stages, [*stages[1:], None], strict=True):
        read = writer.add_stage(stage, behind, read)

    def table(rows: Any, columns: int) -> NDArray[np.int64]:
        return np.array(rows, np.int64).reshape(-1, columns)

    return Program(
        ops=table(writer.ops, _OP_COLUMNS),
        stages=table(writer.stages, _STAGE_COLUMNS),
        planes=table(writer.planes, 2),
        tables=np.array([*writer.tables, -1], np.int64),
        floats=np.array(writer.floats),
        plane_entries=writer.largest_plane,
        state_entries=writer.largest_state,
        row_entries=writer.widest + 2 * writer.margin,
        margin=writer.margin,
    )
