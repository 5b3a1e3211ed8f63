"""The plan: how a job is cut and what it costs, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gramserve.errors import MemoryBudgetError, PlanError
from gramserve.plan.cost import (
    Cost,
    block_bytes,
    choose_block_size,
    item_bytes,
    items_seconds,
    pair_seconds,
)
from gramserve.plan.grid import Grid
from gramserve.spec import KernelSpec, LayerShape, Precision, infer_shapes
from gramserve.stages import PairCost, count_operations


@dataclass(frozen=True)
class Plan:
    """A job as plain data."""

    spec: KernelSpec
    """The kernel, presets expanded."""
    item_shape: tuple[int, ...]
    """Shape of one item."""
    precision: Precision
    grid: Grid
    engine: str
    """Name of the engine that will run."""
    why_engine: str
    """Why it is that one, for people."""
    layers: tuple[LayerShape, ...]
    """Positions after every layer, the input first."""
    pair: PairCost
    """What one pair costs."""
    cost: Cost
    blocks_cached: int
    """Blocks that are stored already, in this matrix or in others."""
    blocks_adoptable: int = 0
    """Of these, those that only other matrices hold."""

    @property
    def blocks_stored(self) -> int:
        """Blocks that are stored in this matrix."""
        return self.blocks_cached - self.blocks_adoptable

    @property
    def blocks_to_compute(self) -> int:
        """Blocks that are stored nowhere."""
        return self.grid.block_count - self.blocks_cached

    def as_report(self) -> dict[str, Any]:
        """Return the body of ``/v1/plans``, without the ids of the Gram matrices."""
        return {
            "shape": [self.grid.rows, self.grid.columns],
            "block_size": self.grid.block_size,
            "blocks": {
                "total": self.grid.block_count,
                "cached": self.blocks_cached,
                "adoptable": self.blocks_adoptable,
                "to_compute": self.blocks_to_compute,
            },
            "bytes": {
                "result": self.cost.result_bytes,
                "peak_worker": self.cost.peak_worker_bytes,
            },
            "operations": self.cost.operations,
            "seconds_estimate": self.cost.seconds,
            "engine": self.engine,
            "why_engine": self.why_engine,
            "layers": [
                {"type": layer.type, "shape": list(layer.positions)} for layer in self.layers
            ],
        }


def make_grid(
    spec: KernelSpec,
    item_shape: Sequence[int],
    rows: int,
    columns: int | None,
    *,
    block_size: int | None,
    engine: str,
) -> Grid:
    """Cut a Gram matrix into blocks.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    rows : int
        N.
    columns : int or None
        M; None for a symmetric matrix.
    block_size : int or None
        B; chosen from the cost of a pair when None. Never larger than the matrix.
    engine : str
        Name of the engine, for the cost.

    Returns
    -------
    Grid
        The blocks.

    Raises
    ------
    PlanError
        When a size is not positive.
    """
    if block_size is None:
        block_size = choose_block_size(spec, item_shape, engine)
    elif block_size < 1:
        msg = f"block_size must be at least 1, got {block_size}"
        raise PlanError(msg, errors=[{"loc": "block_size", "message": msg}])
    across = rows if columns is None else columns
    return Grid(rows, across, min(block_size, max(rows, across, 1)), symmetric=columns is None)


def make_plan(
    spec: KernelSpec,
    item_shape: Sequence[int],
    grid: Grid,
    *,
    precision: Precision,
    engine: str,
    why_engine: str,
    temporary_bytes: int,
    worker_memory_bytes: int,
    workers: int,
    blocks_cached: int = 0,
    blocks_adoptable: int = 0,
) -> Plan:
    """Plan a job and check that it fits, before anything runs.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    grid : Grid
        From :func:`make_grid`.
    precision : {"float32", "mixed", "float64"}
        How to compute.
    engine, why_engine : str
        The engine's name and why it was chosen.
    temporary_bytes : int
        What that engine needs at least besides results and items, by its own word.
    worker_memory_bytes : int
        Memory one worker may use, in bytes.
    workers : int
        Workers at once.
    blocks_cached : int
        Blocks that are stored already, in this matrix or in others.
    blocks_adoptable : int
        Of these, those that only other matrices hold.

    Returns
    -------
    Plan
        Plain data.

    Raises
    ------
    ShapeError
        When the layers do not fit the items.
    MemoryBudgetError
        When a pair or a block does not fit a worker; names both numbers and the remedy.
    """
    layers = infer_shapes(spec, item_shape)
    pair = count_operations(spec, item_shape)

    def needed(size: int) -> int:
        return block_bytes(spec, pair, item_shape, precision, size) + temporary_bytes

    if needed(grid.block_size) > worker_memory_bytes:
        raise _too_large(needed, grid.block_size, worker_memory_bytes)
    left = grid.block_count - blocks_cached
    entries = grid.entry_count * left // grid.block_count
    visits = grid.item_visits * left // grid.block_count
    each = pair.planes.operations if engine in {"cpu", "cuda"} else pair.operations
    seconds = pair_seconds(pair, engine, precision) * entries
    seconds += items_seconds(pair, precision) * visits
    cost = Cost(
        result_bytes=grid.rows * grid.columns * item_bytes(precision) * len(spec.outputs),
        peak_worker_bytes=needed(grid.block_size),
        temporary_bytes=temporary_bytes,
        operations=each * entries + pair.item_operations * visits,
        seconds=seconds / max(workers, 1),
    )
    return Plan(
        spec=spec,
        item_shape=tuple(item_shape),
        precision=precision,
        grid=grid,
        engine=engine,
        why_engine=why_engine,
        layers=layers,
        pair=pair,
        cost=cost,
        blocks_cached=blocks_cached,
        blocks_adoptable=blocks_adoptable,
    )


def _too_large(needed: Any, block_size: int, allowed: int) -> MemoryBudgetError:
    """Say what does not fit and which block size would."""
    if needed(1) > allowed:
        msg = (
            f"one thread needs {_readable(needed(1))}, a worker allows {_readable(allowed)}: use "
            "smaller items, precision float32 or fewer workers with more memory each"
        )
    else:
        low, high = 1, block_size
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if needed(middle) <= allowed else (low, middle)
        msg = (
            f"a block needs {_readable(needed(block_size))}, a worker allows "
            f"{_readable(allowed)}; try block_size <= {low}"
        )
    return MemoryBudgetError(
        msg,
        errors=[{"loc": "block_size", "message": msg}],
        needed_bytes=needed(block_size),
        allowed_bytes=allowed,
    )


def _readable(size: int) -> str:
    """Write bytes with a binary unit."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
