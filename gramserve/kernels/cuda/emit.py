"""The kernels of a network as CUDA source: one instance of a template for each step."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gramserve.kernels.cuda.source import library_source
from gramserve.kernels.cuda.steps import (
    Chain,
    ChangeEntries,
    Convolve,
    CopyState,
    KeepTiles,
    MakeProducts,
    NumberChain,
    PoolAxis,
    PoolTiles,
    Step,
    Steps,
    SumState,
    SumTiles,
)
from gramserve.kernels.cuda.tiles import STAGE_WARPS

STAGE_THREADS = 32 * STAGE_WARPS
DENSE_THREADS = 256
"""Threads of a block; ``stage.cuh`` and ``dense.cuh`` have the same numbers."""

_LONGEST_PERIOD = 6
"""Layers of a group that may repeat."""

# Parameters come in groups, which the templates take as structs.
_PAIRS = "const int* pair_x, const int* pair_y, const int* pair_same, int pair_count"
_PAIRS_VALUE = "Pairs{pair_x, pair_y, pair_same, pair_count}"


@dataclass(frozen=True)
class Kernels:
    """A source, and which of its kernels each step is."""

    source: str
    steps: tuple[str, ...]
    """Name of the kernel of every step."""
    tail: tuple[str, ...]
    """Name of the kernel of every chain of the tail, in their order."""


def group_layers(types: Sequence[str]) -> str:
    """Return a chain as a C++ type in which layers that repeat stand once.

    Parameters
    ----------
    types : sequence of str
        Types of layers.

    Returns
    -------
    str
        Such as ``Chain<Repeat<3, Conv<...>, Dual<Ramp>>>``.

    Examples
    --------
    >>> group_layers(["a", "b", "a", "b", "c"])
    'Chain<Repeat<2, a, b>, c>'
    """
    found: list[str] = []
    at = 0
    while at < len(types):
        period, times = _longest_repeat(types, at)
        body = types[at : at + period]
        found.append(f"Repeat<{times}, {', '.join(body)}>" if times > 1 else body[0])
        at += period * times
    return f"Chain<{', '.join(found)}>"


def _longest_repeat(types: Sequence[str], at: int) -> tuple[int, int]:
    """Return length and number of the groups that cover most from here on."""
    best = (1, 1)
    for period in range(1, _LONGEST_PERIOD + 1):
        body = types[at : at + period]
        if len(body) < period:
            break
        times = 1
        while types[at + times * period : at + (times + 1) * period] == body:
            times += 1
        if times > 1 and times * period > best[0] * best[1]:
            best = period, times
    return best


def emit(steps: Steps, early: str, late: str, *, tangent: bool) -> Kernels:
    """Return the source of a network's kernels.

    Parameters
    ----------
    steps : Steps
        Of the network.
    early, late : str
        C++ types before and behind the first pool.
    tangent : bool
        Whether ``T`` is asked for.

    Returns
    -------
    Kernels
        Its source; steps that are alike share a kernel.
    """
    emitter = _Emitter(steps, (early, late), tangent=tangent)
    names = tuple(emitter.add(step) for step in steps.steps)
    tail = tuple(
        emitter.add_numbers(part.chain) for part in steps.tail if isinstance(part, NumberChain)
    )
    text = "\n".join([library_source(), "using namespace gramserve;", *emitter.kernels.values()])
    return Kernels(text, names, tail)


class _Emitter:
    def __init__(self, steps: Steps, scalars: tuple[str, str], *, tangent: bool) -> None:
        self._steps = steps
        self._scalars = scalars
        self._tangent = str(tangent).lower()
        self._names = (f"step_{number}" for number in itertools.count())
        self._known: dict[str, str] = {}
        self.kernels: dict[str, str] = {}

    def _name(self, threads: int, parameters: str, body: str) -> str:
        """Return the name of a kernel with this content, a known one or a new one."""
        content = f"__launch_bounds__({threads}) void @({parameters}) {{\n{body}\n}}\n"
        if content not in self._known:
            name = next(self._names)
            self._known[content] = name
            self.kernels[name] = 'extern "C" __global__ ' + content.replace("@", name, 1)
        return self._known[content]

    def _scalar(self, *, is_late: bool) -> str:
        return self._scalars[is_late]

    def add(self, step: Step) -> str:  # noqa: PLR0911 - one for each kind of step
        """Return the kernel of a step."""
        match step:
            case KeepTiles() | PoolTiles() | SumTiles():
                return self._tiles(step)
            case MakeProducts():
                return self._products(step)
            case ChangeEntries():
                return self._entries(step)
            case Convolve():
                return self._convolve(step)
            case PoolAxis():
                return self._pool_axis(step)
            case CopyState():
                return self._copy(step)
            case SumState():
                return self._sum_state(step)
        raise TypeError(step)

    def _tiles(self, step: KeepTiles | PoolTiles | SumTiles) -> str:
        scalar = self._scalar(is_late=step.is_late)
        shape = step.tile.cpp(scalar)
        if step.reads is None:
            source = f"const {scalar}* items_x, const {scalar}* items_y, int entries"
            value = "const ItemSource<Tiles> source = {items_x, items_y, entries};"
        else:
            is_split = str(self._steps.states[step.reads].is_split).lower()
            source = _state_parameters("from", scalar)
            value = (
                f"const StateSource<Tiles, {is_split}> source = {{{_state_value('from', scalar)}}};"
            )
        body = [f"  using Tiles = {shape};", f"  {value}"]
        layers = group_layers(step.chain.layers)
        common = f"source, Sides<{scalar}>{_SIDES_VALUE.format(scalar)}, {_PAIRS_VALUE}, "
        cursor = "Cursor{number, variance}"
        parameters = [_sides_parameters(scalar), _PAIRS, source, "int number, int variance"]
        match step:
            case KeepTiles():
                adds = str(step.adds).lower()
                parameters += [_OFFSETS, _state_parameters("to", scalar), f"{scalar} weight"]
                body.append(
                    f"  keep_stage<Tiles, {self._tangent}, {adds}, {layers}>({common}"
                    f"{_OFFSETS_VALUE}, {_state_value('to', scalar)}, weight, {cursor});"
                )
            case SumTiles():
                parameters += [_OFFSETS, "double* sums_s, double* sums_t"]
                body.append(
                    f"  sum_stage<Tiles, {self._tangent}, {layers}>({common}"
                    f"{_OFFSETS_VALUE}, sums_s, sums_t, {cursor});"
                )
            case PoolTiles():
                late = self._scalar(is_late=True)
                parameters += [_RUNS, _state_parameters("to", late), f"{late} weight"]
                body.insert(0, "  GRAMSERVE_SHARED(shared);")
                body.append(
                    f"  pool_stage<Tiles, {step.window}, {self._tangent}, {layers}>({common}"
                    f"{_RUNS_VALUE}, {_state_value('to', late)}, weight, {cursor}, "
                    f"reinterpret_cast<{scalar}*>(shared));"
                )
        return self._name(STAGE_THREADS, ", ".join(parameters), "\n".join(body))

    def _products(self, step: MakeProducts) -> str:
        scalar = self._scalar(is_late=step.is_late)
        parameters = [
            f"const {scalar}* items_x, const {scalar}* items_y, int entries",
            _PAIRS,
            _dense_parameters("to", scalar),
        ]
        body = (
            f"  dense_items<{scalar}>(items_x, items_y, entries, {_PAIRS_VALUE}, "
            f"{_dense_value('to', scalar)});"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def _entries(self, step: ChangeEntries) -> str:
        scalar = self._scalar(is_late=step.is_late)
        parameters = [
            _sides_parameters(scalar),
            _PAIRS,
            _dense_parameters("to", scalar),
            "int number, int variance, int position_stride, int behind",
        ]
        body = (
            f"  dense_layer<{scalar}, {self._tangent}, {step.chain.layers[0]}>("
            f"Sides<{scalar}>{_SIDES_VALUE.format(scalar)}, {_PAIRS_VALUE}, "
            f"{_dense_value('to', scalar)}, number, variance, position_stride, behind);"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def _convolve(self, step: Convolve) -> str:
        scalar = self._scalar(is_late=step.is_late)
        names = ("size", "stride", "dilation", "low", "fill", "wraps")
        axes = [[f"{axis}_{name}" for name in names] for axis in ("down", "across")]
        parameters = [
            _dense_parameters("from", scalar),
            _dense_parameters("to", scalar),
            "int pairs",
            *(f"int {name}" for axis in axes for name in axis),
            "int number",
        ]
        taps = ", ".join(f"DenseTaps{{{', '.join(axis)}}}" for axis in axes)
        trained = str(step.is_trained).lower()
        body = (
            f"  dense_conv<{scalar}, {self._tangent}>({_dense_value('from', scalar)}, "
            f"{_dense_value('to', scalar)}, pairs, {taps}, {trained}, number);"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def _pool_axis(self, step: PoolAxis) -> str:
        assert step.reads is not None  # noqa: S101 - pools read states
        one = self._scalar(is_late=self._steps.states[step.reads].is_late)
        other = self._scalar(is_late=True)
        down = str(step.axis == 0).lower()
        parameters = [
            _dense_parameters("from", one),
            _dense_parameters("to", other),
            "int pairs, int size, int stride, int low, int weights",
        ]
        body = (
            f"  dense_pool<{one}, {other}, {self._tangent}, {down}>({_dense_value('from', one)}, "
            f"{_dense_value('to', other)}, pairs, DenseWindow{{size, stride, low, weights}});"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def _copy(self, step: CopyState) -> str:
        assert step.reads is not None  # noqa: S101 - copies read states
        one = self._scalar(is_late=self._steps.states[step.reads].is_late)
        other = self._scalar(is_late=self._steps.states[step.writes].is_late)
        parameters = [
            _dense_parameters("from", one),
            _dense_parameters("to", other),
            f"int pairs, {other} weight",
        ]
        body = (
            f"  dense_copy<{one}, {other}, {self._tangent}>({_dense_value('from', one)}, "
            f"{_dense_value('to', other)}, pairs, weight, {str(step.adds).lower()});"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def _sum_state(self, step: SumState) -> str:
        scalar = self._scalar(is_late=step.is_late)
        parameters = [_dense_parameters("from", scalar), "double* sums_s, double* sums_t"]
        body = (
            "  GRAMSERVE_SHARED(shared);\n"
            f"  dense_sum<{scalar}, {self._tangent}>({_dense_value('from', scalar)}, sums_s, "
            "sums_t, reinterpret_cast<double*>(shared));"
        )
        return self._name(DENSE_THREADS, ", ".join(parameters), body)

    def add_numbers(self, chain: Chain) -> str:
        """Return the kernel of layers on single numbers."""
        scalar = self._scalar(is_late=True)
        parameters = [
            _sides_parameters(scalar),
            "int rows, int columns, const int* x_labels, const int* y_labels",
            f"{scalar}* s, {scalar}* t",
            "int number, int variance",
        ]
        body = (
            f"  number_stage<{scalar}, {self._tangent}, {group_layers(chain.layers)}>("
            f"Sides<{scalar}>{_SIDES_VALUE.format(scalar)}, rows, columns, x_labels, y_labels, "
            "s, t, Cursor{number, variance});"
        )
        return self._name(STAGE_THREADS, ", ".join(parameters), body)


def _sides_parameters(scalar: str) -> str:
    return f"const {scalar}* roots_x, const {scalar}* roots_y, int variances"


_SIDES_VALUE = (
    "{{reinterpret_cast<const Roots<{0}>*>(roots_x), "
    "reinterpret_cast<const Roots<{0}>*>(roots_y), variances}}"
)
_OFFSETS = "const int* offset_rows, const int* offset_columns, int row_count, int column_count"
_OFFSETS_VALUE = "Offsets{offset_rows, offset_columns, row_count, column_count}"
_RUNS = "const int* run_rows, const int* run_columns, int row_count, int column_count"
_RUNS_VALUE = (
    "Runs{reinterpret_cast<const Run*>(run_rows), "
    "reinterpret_cast<const ColumnRun*>(run_columns), row_count, column_count}"
)


def _state_parameters(name: str, scalar: str) -> str:
    arrays = ", ".join(f"{scalar}* {name}_{part}" for part in ("s", "t", "more_s", "more_t"))
    return (
        f"{arrays}, const int* {name}_row_slots, const int* {name}_column_slots, "
        f"int {name}_rows_kept, int {name}_columns_kept"
    )


def _state_value(name: str, scalar: str) -> str:
    parts = ("s", "t", "more_s", "more_t", "row_slots", "column_slots", "rows_kept")
    inside = ", ".join(f"{name}_{part}" for part in (*parts, "columns_kept"))
    return f"State<{scalar}>{{{inside}}}"


def _dense_parameters(name: str, scalar: str) -> str:
    arrays = ", ".join(f"{scalar}* {name}_{part}" for part in ("s", "t", "more_s", "more_t"))
    axes = ", ".join(
        f"int {name}_{axis}_size, int {name}_{axis}_kept, const int* {name}_{axis}_offsets, "
        f"const int* {name}_{axis}_slots"
        for axis in ("down", "across")
    )
    return f"{arrays}, {axes}"


def _dense_value(name: str, scalar: str) -> str:
    axes = ", ".join(
        f"DenseAxis{{{name}_{axis}_size, {name}_{axis}_kept, {name}_{axis}_offsets, "
        f"{name}_{axis}_slots}}"
        for axis in ("down", "across")
    )
    arrays = ", ".join(f"{name}_{part}" for part in ("s", "t", "more_s", "more_t"))
    return f"Dense<{scalar}>{{{arrays}, {axes}}}"
