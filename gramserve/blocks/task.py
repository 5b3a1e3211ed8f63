"""Tasks: what a worker process is told, in plain picklable data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gramserve.blocks.ledger import Failure
from gramserve.plan import BlockIndex, Grid
from gramserve.spec import KernelSpec, OutputName, Precision


@dataclass(frozen=True)
class ItemsPlace:
    """Where the items of one side and their variances lie."""

    root: str
    """State directory."""
    digest: str
    """Of the data set."""
    variance_key: str | None
    """Of the variances of this data set under this network; None when it needs none."""


@dataclass(frozen=True)
class Recipe:
    """How to compute: what all tasks of a job share."""

    spec: KernelSpec
    precision: Precision
    engine: str
    """Name of the engine."""
    memory_bytes: int
    """Memory for the temporaries of the engine, in bytes."""
    threads: int = 1
    """Threads that the engine may use for one block."""


@dataclass(frozen=True)
class BlockResult:
    """What became of one block in one attempt."""

    block: BlockIndex
    seconds: float
    """Seconds of evaluating and writing."""
    worker: str
    """Host name and process id."""
    engine: str
    device: str
    checksums: tuple[tuple[OutputName, str], ...] = ()
    """Of the stored objects, by kernel."""
    failure: Failure | None = None
    """Why it is not stored; None when it is."""


@dataclass(frozen=True)
class BlockTask:
    """Compute and store a group of blocks that share a row panel."""

    recipe: Recipe
    rows: ItemsPlace
    columns: ItemsPlace
    grid: Grid
    grams: tuple[tuple[OutputName, str], ...]
    """Path of the Gram matrix of every kernel."""
    blocks: tuple[BlockIndex, ...]

    def run(self) -> Sequence[BlockResult]:
        """Compute and store; one result for each block."""
        # Imported in the worker: tasks are made where engines need not be loaded.
        from gramserve.blocks.worker import compute_blocks  # noqa: PLC0415

        return compute_blocks(self)


@dataclass(frozen=True)
class VarianceTask:
    """Compute and store the variances of segments of a data set."""

    recipe: Recipe
    place: ItemsPlace
    side: int
    """0 for the items of the rows, 1 for those of the columns."""
    segments: tuple[int, ...]

    def run(self) -> Sequence[BlockResult]:
        """Compute and store; one result for each segment, as block (side, segment)."""
        from gramserve.blocks.worker import compute_variances  # noqa: PLC0415

        return compute_variances(self)


@dataclass(frozen=True)
class RowTask:
    """Compute kernel values of some items against a range of others, and return them."""

    recipe: Recipe
    rows: ItemsPlace
    columns: ItemsPlace
    row_range: tuple[int, int]
    column_range: tuple[int, int]

    def run(self) -> NDArray[Any]:
        """Return the values, (rows, columns)."""
        from gramserve.blocks.worker import compute_rows  # noqa: PLC0415

        return compute_rows(self)
