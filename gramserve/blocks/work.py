"""The work of a job: which stores it reads and writes, ready for the scheduler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from gramserve.blocks.task import ItemsPlace, Recipe
from gramserve.kernels import choose_engine, result_dtype
from gramserve.plan import BlockIndex, BlockMap, Grid, Plan, pair_seconds
from gramserve.spec import KERNEL_CODE_VERSION, KernelSpec, OutputName, Precision
from gramserve.store import (
    DatasetStore,
    GramStore,
    StateLayout,
    VarianceStore,
    drop_damaged_blocks,
)

GRAM_FORMAT = "gramserve.gram/1"
"""Version of the attributes of a stored Gram matrix."""

_SEGMENT_SECONDS = 5.0
_LARGEST_SEGMENT = 1024


@dataclass(frozen=True)
class GramWork:
    """Everything a run needs, in plain picklable data."""

    recipe: Recipe
    places: tuple[ItemsPlace, ...]
    """Items of the rows, and of the columns where these are others."""
    grid: Grid
    grams: tuple[tuple[OutputName, str], ...]
    """Path of the Gram matrix of every kernel."""

    def stored_blocks(self) -> BlockMap:
        """Return the blocks that are stored for every kernel."""
        found = [GramStore.open(path).stored_map() for _, path in self.grams]
        return reduce(and_, found)

    def is_stored(self) -> bool:
        """Whether every block is there now: one that was counted may have been found damaged."""
        return len(self.stored_blocks()) == self.grid.block_count

    def drop_damaged(
        self, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[OutputName, list[BlockIndex]]:
        """Check what was stored since the last check, and remove what is damaged.

        Parameters
        ----------
        should_stop : callable
            Asked before every block; True ends the check early.

        Returns
        -------
        dict
            The blocks that were removed, for the kernels that lost some.
        """
        dropped = {
            name: drop_damaged_blocks(GramStore.open(path), should_stop)
            for name, path in self.grams
        }
        return {name: blocks for name, blocks in dropped.items() if blocks}

    def missing_variances(self) -> list[tuple[int, int]]:
        """Return (side, segment) of all variances that are not stored."""
        # Rows and columns may be the same items: their variances are made once.
        return [
            (side, segment)
            for side, place in enumerate(dict.fromkeys(self.places))
            for segment in missing_segments(place)
        ]


def missing_segments(place: ItemsPlace) -> list[int]:
    """Return the segments of a data set's variances that are not stored.

    Parameters
    ----------
    place : ItemsPlace
        Where they lie.

    Returns
    -------
    list of int
        Empty for a network that needs no variances.
    """
    if place.variance_key is None:
        return []
    store = VarianceStore(StateLayout(Path(place.root)).variances)
    return store.missing_segments(place.variance_key)


def gram_attributes(
    spec: KernelSpec, precision: Precision, dataset: str, other: str | None
) -> dict[str, Any]:
    """Return what is written beside a Gram matrix so that it explains itself.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How it was computed.
    dataset, other : str or None
        Digests of the items of rows and columns.

    Returns
    -------
    dict
        JSON values, for the Zarr attributes.
    """
    return {
        "format": GRAM_FORMAT,
        "kernel": spec.canonical(),
        "precision": precision,
        "dataset": dataset,
        "other": other,
        "kernel_code_version": KERNEL_CODE_VERSION,
    }


def place_items(
    root: Path,
    digest: str,
    spec: KernelSpec,
    precision: Precision,
    engine: str,
    *,
    pair_cost_s: float = 0.0,
) -> ItemsPlace:
    """Prepare the place of a data set's variances under a kernel.

    Parameters
    ----------
    root : Path
        State directory that holds the data set.
    digest : str
        Of the data set.
    spec : KernelSpec
        The kernel; its network decides the variances.
    precision : {"float32", "mixed", "float64"}
        How to compute.
    engine : str
        Name of the engine.
    pair_cost_s : float
        Seconds one pair takes, to choose how many items one task takes.

    Returns
    -------
    ItemsPlace
        Where tasks find items and variances.
    """
    layout = StateLayout(root)
    info = DatasetStore(layout.datasets).info(digest)
    runner, _ = choose_engine(spec, precision, engine)
    length = runner.variance_length(spec, info.shape[1:])
    if not length:
        return ItemsPlace(str(root), digest, None)
    store = VarianceStore(layout.variances)
    key = store.key(digest, spec.network_digest(), precision, runner.name)
    segment = max(1, min(_LARGEST_SEGMENT, int(_SEGMENT_SECONDS / max(pair_cost_s, 1e-9))))
    store.create(
        key,
        items=info.items,
        length=length,
        dtype="float32" if precision == "float32" else "float64",
        segment=segment,
    )
    return ItemsPlace(str(root), digest, key)


def open_work(
    plan: Plan,
    *,
    root: Path,
    dataset: str,
    other: str | None,
    grams: Mapping[OutputName, Path],
    memory_bytes: int,
    threads: int = 1,
) -> GramWork:
    """Create the stores of a planned job that are missing, and return its work.

    What writers that died left unfinished in these stores is removed.

    Parameters
    ----------
    plan : Plan
        How the job is cut.
    root : Path
        State directory that holds the data sets.
    dataset : str
        Digest of the items of the rows.
    other : str or None
        Digest of the items of the columns; None for a symmetric matrix.
    grams : mapping
        Where the Gram matrix of every kernel goes.
    memory_bytes : int
        Memory one worker may use, in bytes.
    threads : int
        Threads that an engine may use for one block.

    Returns
    -------
    GramWork
        For :meth:`gramserve.blocks.Scheduler.run`.

    Raises
    ------
    StoreNotFoundError
        When a data set is not there.
    StoreMismatchError
        When a path holds another Gram matrix.
    """
    spec, precision, grid = plan.spec, plan.precision, plan.grid
    cost = pair_seconds(plan.pair, plan.engine, precision)
    places = tuple(
        place_items(root, digest, spec, precision, plan.engine, pair_cost_s=cost)
        for digest in ((dataset,) if other is None else (dataset, other))
    )
    for name, path in grams.items():
        gram = GramStore.create(
            path,
            shape=(grid.rows, grid.columns),
            dtype=result_dtype(precision),
            block_size=grid.block_size,
            symmetric=grid.symmetric,
            attributes=gram_attributes(spec.for_output(name), precision, dataset, other),
        )
        gram.sweep()
    # What the block itself occupies is planned for; the rest is free for temporaries of pairs.
    held = plan.cost.peak_worker_bytes - plan.cost.temporary_bytes
    memory = max(memory_bytes - held, plan.cost.temporary_bytes)
    return GramWork(
        recipe=Recipe(spec, precision, plan.engine, memory, threads),
        places=places,
        grid=grid,
        grams=tuple((name, str(path)) for name, path in grams.items()),
    )
