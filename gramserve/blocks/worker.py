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
from gramserve.errors import DeviceLostError, GramserveError, StorageFullError
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
def _load(place: ItemsPlace, start: int, stop: int) -> Items:
    """Read a panel of items with variances and keys; the last few are kept."""
    layout = StateLayout(Path(place.root))
    datasets = DatasetStore(layout.datasets)
    variances: NDArray[Any] = np.empty((stop - start, 0))
    if place.variance_key is not None:
        variances = VarianceStore(layout.variances).read(place.variance_key, start, stop)
    return Items(
        values=datasets.read(place.digest, start, stop),
        variances=variances,
        keys=datasets.item_keys(place.digest, start, stop),
    )


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
    return tuple(name for name, path in task.grams if not GramStore.open(path).has_block(*block))


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
        _load(task.rows, *task.grid.row_range(block[0])),
        _load(task.columns, *task.grid.column_range(block[1])),
        task.recipe.precision,
        memory_bytes=task.recipe.memory_bytes,
        threads=task.recipe.threads,
    )
    paths = dict(task.grams)
    return tuple(
        (
            name,
            GramStore.open(paths[name]).write_block(*block, _mirrored(values[name], task, block)),
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
    layout = StateLayout(Path(task.place.root))
    datasets, variances = DatasetStore(layout.datasets), VarianceStore(layout.variances)
    key = task.place.variance_key
    if key is None:
        return []

    def store(engine: Engine, segment: int) -> tuple[tuple[OutputName, str], ...]:
        start, stop = variances.segment_range(key, segment)
        recipe = task.recipe
        values = engine.variances(
            recipe.spec,
            datasets.read(task.place.digest, start, stop),
            recipe.precision,
            memory_bytes=recipe.memory_bytes,
            threads=recipe.threads,
        )
        variances.write_segment(key, segment, values)
        return ()

    return [
        _attempt(
            task.recipe,
            (task.side, segment),
            lambda engine, segment=segment: store(engine, segment),  # type: ignore[misc]
        )
        for segment in task.segments
    ]


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
        _load(task.rows, *task.row_range),
        _load(task.columns, *task.column_range),
        recipe.precision,
        memory_bytes=recipe.memory_bytes,
        threads=recipe.threads,
    )
    return values[recipe.spec.kernels[0]]
