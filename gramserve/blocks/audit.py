"""Audits: stored blocks computed once more, in float64, and compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gramserve.blocks.executor import Completion, Executor, Session
from gramserve.blocks.task import ItemsPlace, Recipe, RowTask, VarianceTask
from gramserve.blocks.work import missing_segments
from gramserve.errors import CorruptBlockError, WorkerLostError, error_for_code
from gramserve.plan import BlockIndex, Grid
from gramserve.spec import KernelSpec, Precision
from gramserve.store import GramStore

_ATTEMPTS = 3
_POLL_SECONDS = 0.5
_WINDOW_PER_SLOT = 2

# docs/kernels.md, "Precision": NNGP with continuous duals, and everything else.
_CONTINUOUS: Mapping[Precision, float] = {"float64": 1e-12, "mixed": 2e-6, "float32": 2e-6}
_OTHERS: Mapping[Precision, float] = {"float64": 1e-7, "mixed": 1e-5, "float32": 1e-5}


def audit_tolerance(spec: KernelSpec, precision: Precision) -> float:
    """Return how far stored numbers may be from those in float64.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        Of the stored numbers.

    Returns
    -------
    float
        Largest difference over largest value.
    """
    smooth = spec.kernels == ("nngp",) and not _has_jump(spec.canonical())
    return (_CONTINUOUS if smooth else _OTHERS)[precision]


def _has_jump(node: Any) -> bool:
    if isinstance(node, Mapping):
        if node.get("type") in {"sign", "step"}:
            return True
        if node.get("type") == "arc_cosine" and not node.get("order"):
            return True
        return any(_has_jump(value) for value in node.values())
    return isinstance(node, list | tuple) and any(_has_jump(value) for value in node)


@dataclass(frozen=True)
class AuditedBlock:
    """How one stored block compares."""

    block: BlockIndex
    difference: float
    """Largest difference over largest value; infinite where one could not be read."""
    error: str | None = None
    """Why it could not be read."""


@dataclass(frozen=True)
class AuditTask:
    """Compute one block in float64 and compare it with what is stored."""

    recipe: Recipe
    """Of the recomputation."""
    rows: ItemsPlace
    columns: ItemsPlace
    grid: Grid
    gram: str
    """Path of the matrix."""
    block: BlockIndex

    def run(self) -> AuditedBlock:
        """Return the comparison; the numbers stay in the worker."""
        try:
            stored = GramStore.open(self.gram).read_block(*self.block).astype(np.float64)
        except CorruptBlockError as error:
            return AuditedBlock(self.block, float("inf"), str(error))
        anew = RowTask(
            self.recipe,
            self.rows,
            self.columns,
            self.grid.row_range(self.block[0]),
            self.grid.column_range(self.block[1]),
        ).run()
        scale = float(np.abs(anew).max()) or 1.0
        return AuditedBlock(self.block, float(np.abs(stored - anew).max()) / scale)


def audit_blocks(
    executor: Executor,
    recipe: Recipe,
    blocks: Sequence[BlockIndex],
    *,
    places: tuple[ItemsPlace, ItemsPlace],
    grid: Grid,
    gram: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[AuditedBlock]:
    """Compute blocks again on the workers, and yield how they compare.

    Parameters
    ----------
    executor : Executor
        Where they are computed, among the blocks of jobs.
    recipe : Recipe
        In float64, with a spec of one kernel.
    blocks : sequence of (int, int)
        Stored blocks.
    places : (ItemsPlace, ItemsPlace)
        Items of rows and columns, with variances in float64, which are computed where they are
        missing.
    grid : Grid
        How the matrix is cut.
    gram : str
        Its path.
    should_stop : callable
        Asked between blocks; True ends the audit.

    Yields
    ------
    AuditedBlock
        As they come back, in no order.

    Raises
    ------
    GramserveError
        When a block cannot be computed.
    """
    with executor.session() as session:
        for place in dict.fromkeys(places):
            segments = [
                VarianceTask(recipe, place, 0, (segment,)) for segment in missing_segments(place)
            ]
            for results in _results(executor, session, segments, should_stop):
                for result in results:
                    if result.failure is not None:
                        raise error_for_code(result.failure.code)(result.failure.message)
        tasks = [AuditTask(recipe, *places, grid, gram, block) for block in blocks]
        yield from _results(executor, session, tasks, should_stop)


def _results(
    executor: Executor, session: Session, tasks: Sequence[Any], should_stop: Callable[[], bool]
) -> Iterator[Any]:
    """Run tasks, a few more at once than there are workers; lost ones are tried again."""
    waiting = list(reversed(tasks))
    attempts: dict[int, int] = {}
    out = 0
    while (waiting or out) and not should_stop():
        while waiting and out < max(1, executor.slots) * _WINDOW_PER_SLOT:
            session.submit(waiting.pop())
            out += 1
        for completion in session.poll(_POLL_SECONDS):
            out -= 1
            if completion.error is None:
                yield completion.result
            else:
                waiting.append(_again(completion, attempts))


def _again(completion: Completion, attempts: dict[int, int]) -> Any:
    number = id(completion.task)
    attempts[number] = attempts.get(number, 1) + 1
    if isinstance(completion.error, WorkerLostError) and attempts[number] <= _ATTEMPTS:
        return completion.task
    raise completion.error or WorkerLostError("a task ended without a result")
