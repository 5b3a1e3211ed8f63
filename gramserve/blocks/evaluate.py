"""Kernel rows of new items against a data set: computed on request, stored nowhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.blocks.executor import Executor, Session, Task
from gramserve.blocks.task import ItemsPlace, Recipe, RowTask, VarianceTask
from gramserve.blocks.work import missing_segments, place_items
from gramserve.errors import WorkerLostError, error_for_code
from gramserve.preprocessing import ItemSource
from gramserve.store import DatasetStore, StateLayout

INTERACTIVE_PRIORITY = 1000
"""Priority of requests that somebody waits for; jobs have -100 to 100."""

_ATTEMPTS = 3
_POLL_SECONDS = 0.5


def evaluate_rows(
    executor: Executor,
    recipe: Recipe,
    *,
    scratch: Path,
    items: ItemSource,
    columns: ItemsPlace,
    column_count: int,
    panel: int,
) -> Iterator[NDArray[Any]]:
    """Yield kernel values of new items against all items of a data set.

    Parameters
    ----------
    executor : Executor
        Where they are computed, before the blocks of jobs.
    recipe : Recipe
        With a spec of one kernel.
    scratch : Path
        An empty directory for the new items while they are needed; the caller removes it.
    items : ItemSource, (n, *item_shape)
        The new items: an array, or what makes them when they are read.
    columns : ItemsPlace
        The data set; its variances are computed where they are missing.
    column_count : int
        M, its items.
    panel : int
        Rows and columns of one task.

    Yields
    ------
    ndarray, (<= panel, M)
        Consecutive rows, float32 or float64.

    Raises
    ------
    InvalidDataError
        When the new items are not finite.
    NonFiniteKernelError
        When a value or a variance overflows.
    BlockError
        When a task fails for good.
    """
    layout = StateLayout(scratch)
    layout.ensure()
    info = DatasetStore(layout.datasets).add(items)
    rows = place_items(scratch, info.digest, recipe.spec, recipe.precision, recipe.engine)
    with executor.session(INTERACTIVE_PRIORITY) as session:
        for place in (rows, columns):
            tasks = [
                VarianceTask(recipe, place, 0, (segment,)) for segment in missing_segments(place)
            ]
            for results in _run_all(session, tasks):
                for result in results:
                    if result.failure is not None:
                        raise error_for_code(result.failure.code)(result.failure.message)
        for start in range(0, info.items, panel):
            stop = min(start + panel, info.items)
            tasks_across = [
                RowTask(
                    recipe, rows, columns, (start, stop), (left, min(left + panel, column_count))
                )
                for left in range(0, column_count, panel)
            ]
            yield np.concatenate(_run_all(session, tasks_across), axis=1)


def _run_all(session: Session, tasks: list[Any]) -> list[Any]:
    """Run tasks and return their results in order; lost ones are tried again."""
    results: list[Any] = [None] * len(tasks)
    left: dict[int, tuple[int, int]] = {}
    for number, task in enumerate(tasks):
        session.submit(task)
        left[id(task)] = (number, 1)
    while left:
        for completion in session.poll(_POLL_SECONDS):
            number, attempt = left.pop(id(completion.task))
            if completion.error is None:
                results[number] = completion.result
            elif isinstance(completion.error, WorkerLostError) and attempt < _ATTEMPTS:
                again: Task = tasks[number]
                session.submit(again)
                left[id(again)] = (number, attempt + 1)
            else:
                raise completion.error
    return results
