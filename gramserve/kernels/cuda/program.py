"""A network compiled for one device: its steps, its kernels, and the integers they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gramserve.arrays import Array, Device, Module
from gramserve.errors import BlockError
from gramserve.kernels.cuda.emit import Kernels, emit
from gramserve.kernels.cuda.forms import axis_tables, column_runs, offset_tables, row_runs
from gramserve.kernels.cuda.lower import Format, lower
from gramserve.kernels.cuda.steps import KeepTiles, PoolTiles, StateForm, Steps, SumTiles
from gramserve.spec import KernelSpec, Precision

NUMBERS_ROOM = 4096
"""Numbers of a network that a module has room for, as ``chain.cuh`` has it."""

NUMBERS_OF_LAYERS = NUMBERS_ROOM - 1024
"""Of which layers may take so many; the rest is for weights of pools."""

_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


@dataclass(frozen=True)
class Dtypes:
    """What a network is computed in."""

    early: np.dtype[Any]
    """Before the first pool or readout."""
    late: np.dtype[Any]
    """Behind it."""

    @classmethod
    def of(cls, precision: Precision, *, has_positions: bool) -> "Dtypes":
        """Return the dtypes of a precision."""
        late = np.dtype(np.float32 if precision == "float32" else np.float64)
        if precision == "mixed" and has_positions:
            return cls(np.dtype(np.float32), late)
        return cls(late, late)


def lower_for(
    spec: KernelSpec, item_shape: Sequence[int], precision: Precision
) -> tuple[Steps, Kernels, Dtypes]:
    """Return the steps of a network and their source, without a device.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    precision : {"float32", "mixed", "float64"}
        How it is computed.

    Returns
    -------
    (Steps, Kernels, Dtypes)
        What runs, as what, in which numbers.
    """
    dtypes = Dtypes.of(precision, has_positions=len(item_shape) > 1)
    tangent = "ntk" in spec.kernels
    form = Format(dtypes.early.itemsize, dtypes.late.itemsize, tangent)
    steps = lower(spec, item_shape, form)
    kernels = emit(
        steps,
        _TYPES[dtypes.early],
        _TYPES[dtypes.late],
        tangent=tangent,
    )
    return steps, kernels, dtypes


class Program:
    """A network on a device.

    Parameters
    ----------
    device : Device
        Where it is compiled for.
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    precision : {"float32", "mixed", "float64"}
        How it is computed.

    Raises
    ------
    BlockError
        When it has more numbers than constant memory has room for, or does not compile.
    """

    def __init__(
        self, device: Device, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> None:
        self.steps, self.kernels, self.dtypes = lower_for(spec, item_shape, precision)
        self.tangent = "ntk" in spec.kernels
        if len(self.steps.numbers) > NUMBERS_ROOM:
            raise BlockError(
                f"the network has {len(self.steps.numbers)} numbers, and a CUDA module has room "
                f'for {NUMBERS_ROOM}; use engine "cpu"'
            )
        self.module: Module = device.compile(self.kernels.source)
        numbers = np.asarray([*self.steps.numbers, 0.0])
        with np.errstate(over="ignore"):  # what float32 cannot hold shows as infinity in values
            self.module.set_constants("numbers_f32", numbers.astype(np.float32))
        self.module.set_constants("numbers_f64", numbers)
        stream = device.stream()
        # Tables of states, and what each step reads beside them.
        self.tables = [
            tuple(device.upload(table, stream) for table in axis_tables(form))
            for form in self.steps.states
        ]
        self.schedules: list[tuple[Array, ...]] = [
            tuple(device.upload(table, stream) for table in self._schedule(index))
            for index in range(len(self.steps.steps))
        ]
        stream.synchronize()

    def _schedule(self, index: int) -> tuple[Any, ...]:
        step = self.steps.steps[index]
        match step:
            case KeepTiles():
                return offset_tables(self.steps.states[step.writes].offsets)
            case SumTiles():
                return offset_tables(step.offsets)
            case PoolTiles():
                form = self.steps.states[step.writes]
                height, width = form.positions
                return (
                    row_runs(form.offsets.rows, height),
                    column_runs(form.offsets.columns, width),
                )
        return ()

    def dtype_of(self, form: StateForm) -> np.dtype[Any]:
        """Return the dtype of a state."""
        return self.dtypes.late if form.is_late else self.dtypes.early

    def bytes_per_pair(self) -> int:
        """Return the device memory that one pair of a batch needs, in bytes."""
        steps = self.steps
        layers = 1 + self.tangent
        early = steps.entries_at_once(is_late=False) * self.dtypes.early.itemsize
        late = steps.entries_at_once(is_late=True) * self.dtypes.late.itemsize
        parts = max((self.parts_of(index) for index in range(len(steps.steps))), default=1)
        return layers * (early + late + 8 * (parts + 1)) + 64

    def tiles_per_pair(self) -> int:
        """Return the most tiles of a pair that one step takes."""
        steps = self.steps
        found = [len(steps.states[writes].offsets) for writes in self._written()]
        found += [len(step.offsets) for step in steps.steps if isinstance(step, SumTiles)]
        found += [
            step.window**2 * len(self.schedules[index][0]) * len(self.schedules[index][1])
            for index, step in enumerate(steps.steps)
            if isinstance(step, PoolTiles)
        ]
        return max(found, default=1)

    def _written(self) -> set[int]:
        states = (getattr(step, "writes", None) for step in self.steps.steps)
        return {state for state in states if state is not None}

    def parts_of(self, index: int) -> int:
        """Return into how many units a tile step cuts one pair."""
        step = self.steps.steps[index]
        match step:
            case KeepTiles():
                return len(self.steps.states[step.writes].offsets.columns)
            case SumTiles():
                return len(step.offsets.columns)
            case PoolTiles():
                form = self.steps.states[step.writes]
                return len(column_runs(form.offsets.columns, form.positions[1]))
        return 1
