"""What runs in a worker process: read items, evaluate, write whole blocks."""

import os
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.blocks.ledger import Failure
from gramserve.blocks.task import (
    BlockResult,
    BlockTask,
    ItemsPlace,
    Recipe,
    RowTask,
    VarianceTask,
)
from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    DeviceLostError,
    GramserveError,
    StorageFullError,
)
from gramserve.kernels import Engine, Items, choose_engine
from gramserve.plan import BlockIndex
from gramserve.spec import KernelSpec, OutputName
from gramserve.store import DatasetStore, GramStore, StateLayout, VarianceStore

_PANELS_KEPT = 4
"""Panels of items a process keeps: the row panel of its group and the last columns."""


def worker_name() -> str:
    """Return host name and process id, for provenance."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _engine(recipe: Recipe) -> Engine:
    return choose_engine(recipe.spec, recipe.precision, recipe.engine)[0]


@lru_cache(maxsize=_PANELS_KEPT)
def _load(recipe: Recipe, place: ItemsPlace, start: int, stop: int) -> Items:
    """Read a panel of items with variances and keys; the last few are kept."""
    datasets = DatasetStore(StateLayout(Path(place.root)).datasets)
    return Items(
        values=datasets.read(place.digest, start, stop),
        variances=_read_variances(recipe, place, start, stop),
        keys=datasets.item_keys(place.digest, start, stop),
    )


def _read_variances(recipe: Recipe, place: ItemsPlace, start: int, stop: int) -> NDArray[Any]:
    """Read the variances of a range of items; segments that are damaged are computed again."""
    key = place.variance_key
    if key is None:
        return np.empty((stop - start, 0))
    variances = VarianceStore(StateLayout(Path(place.root)).variances)
    try:
        return variances.read(key, start, stop)
    except (CorruptBlockError, BlockMissingError):
        # All of them were there when the job began, and nothing but them is needed to make one.
        for segment in variances.damaged_segments(key, start, stop):
            _store_variances(recipe, place, segment)
        return variances.read(key, start, stop)


def _attempt(
    recipe: Recipe,
    block: BlockIndex,
    work: Callable[[Engine], tuple[tuple[OutputName, str], ...]],
) -> BlockResult:
    """Run the work of one block; a failure is a record, so that its neighbours go on.

    Raises
    ------
    DeviceLostError
        When none of them could.
    """
    began = time.perf_counter()
    engine = _engine(recipe)
    failure: Failure | None = None
    checksums: tuple[tuple[OutputName, str], ...] = ()
    try:
        checksums = work(engine)
    except DeviceLostError:
        raise  # whatever this process computes next would fail too
    except GramserveError as error:
        failure = Failure(
            error.code, str(error), error.retryable, is_outage=isinstance(error, StorageFullError)
        )
    except MemoryError as error:
        failure = Failure("memory_budget", f"out of memory: {error}")
    except Exception as error:
        failure = Failure("block", f"{type(error).__name__}: {error}")
    return BlockResult(
        block=block,
        seconds=time.perf_counter() - began,
        worker=worker_name(),
        engine=engine.name,
        device=engine.device,
        checksums=checksums,
        failure=failure,
    )


def compute_blocks(task: BlockTask) -> list[BlockResult]:
    """Compute and store the blocks of a task.

    Parameters
    ----------
    task : BlockTask
        Blocks of one row panel.

    Returns
    -------
    list of BlockResult
        One for each block, stored or failed.
    """
    return [
        _attempt(task.recipe, block, lambda engine, block=block: _store_block(task, block, engine))  # type: ignore[misc]
        for block in task.blocks
    ]


def _missing_kernels(task: BlockTask, block: BlockIndex) -> tuple[OutputName, ...]:
    return tuple(
        name for name, path in task.grams if not GramStore.reopen(Path(path)).has_block(*block)
    )


def _spec_for(spec: KernelSpec, kernels: tuple[OutputName, ...]) -> KernelSpec:
    """Return what to evaluate where only some of the matrices lack a block.

    Items come with the variances of all readouts, so that these are computed together or not at
    all; NNGP and NTK need the same ones.
    """
    if spec.readouts or len(kernels) == len(spec.kernels):
        return spec
    return spec.for_output(kernels[0])


def _store_block(
    task: BlockTask, block: BlockIndex, engine: Engine
) -> tuple[tuple[OutputName, str], ...]:
    kernels = _missing_kernels(task, block)
    if not kernels:  # a late twin of this task was faster
        return ()
    values = engine.evaluate(
        _spec_for(task.recipe.spec, kernels),
        _load(task.recipe, task.rows, *task.grid.row_range(block[0])),
        _load(task.recipe, task.columns, *task.grid.column_range(block[1])),
        task.recipe.precision,
        memory_bytes=task.recipe.memory_bytes,
        threads=task.recipe.threads,
    )
    paths = dict(task.grams)
    return tuple(
        (
            name,
            GramStore.reopen(Path(paths[name])).write_block(
                *block, _mirrored(values[name], task, block)
            ),
        )
        for name in kernels
    )


def _mirrored(values: NDArray[Any], task: BlockTask, block: BlockIndex) -> NDArray[Any]:
    """Make a block on the diagonal exactly symmetric: its halves may differ in the last bit."""
    if not task.grid.symmetric or block[0] != block[1]:
        return values
    return np.triu(values) + np.triu(values, 1).T


def compute_variances(task: VarianceTask) -> list[BlockResult]:
    """Compute and store the variances of the segments of a task.

    Parameters
    ----------
    task : VarianceTask
        Segments of one data set.

    Returns
    -------
    list of BlockResult
        One for each segment, as block (side, segment).
    """
    if task.place.variance_key is None:
        return []

    def store(segment: int) -> tuple[tuple[OutputName, str], ...]:
        _store_variances(task.recipe, task.place, segment)
        return ()

    return [
        _attempt(
            task.recipe,
            (task.side, segment),
            lambda _, segment=segment: store(segment),  # type: ignore[misc]
        )
        for segment in task.segments
    ]


def _store_variances(recipe: Recipe, place: ItemsPlace, segment: int) -> None:
    layout, key = StateLayout(Path(place.root)), place.variance_key
    if key is None:
        return
    store = VarianceStore(layout.variances)
    start, stop = store.segment_range(key, segment)
    values = _engine(recipe).variances(
        recipe.spec,
        DatasetStore(layout.datasets).read(place.digest, start, stop),
        recipe.precision,
        memory_bytes=recipe.memory_bytes,
        threads=recipe.threads,
    )
    store.write_segment(key, segment, values)


def compute_rows(task: RowTask) -> NDArray[Any]:
    """Return kernel values of a range of items against a range of others.

    Parameters
    ----------
    task : RowTask
        With a spec of one kernel.

    Returns
    -------
    ndarray, (rows, columns)
        Not stored anywhere.
    """
    recipe = task.recipe
    values = _engine(recipe).evaluate(
        recipe.spec,
        _load(task.recipe, task.rows, *task.row_range),
        _load(task.recipe, task.columns, *task.column_range),
        recipe.precision,
        memory_bytes=recipe.memory_bytes,
        threads=recipe.threads,
    )
    return values[recipe.spec.kernels[0]]
