"""A Gram matrix computed here: into one Zarr store, with a working directory beside it.

The working directory ``<out>.work`` is a small state directory. It holds a copy of the items, so
that a changed input file cannot spoil a matrix that is half done, and the variances of the items.
It exists exactly as long as the matrix is not complete.
"""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gramserve.errors import ShapeError, StoreError
from gramserve.spec import KernelSpec, OutputName, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gramserve.blocks import GramWork
    from gramserve.plan import Grid, Plan


@dataclass(frozen=True)
class LocalRequest:
    """What `gramserve compute` was asked for."""

    images: Path
    """Items of the rows, an `.npy` file."""
    other: Path | None
    """Items of the columns; None for the symmetric matrix."""
    out: Path
    """The Zarr store: an array, or a group of them when several kernels are asked for."""
    spec: KernelSpec
    precision: Precision
    block_size: int | None
    engine: str
    workers: int
    """Worker processes to plan for."""
    worker_memory_bytes: int
    cache: Path | None = None
    """State directory whose blocks are taken over; None takes over none."""

    @property
    def working_directory(self) -> Path:
        """Where items and variances lie while the matrix is not complete."""
        return self.out.with_name(self.out.name + ".work")

    @property
    def grams(self) -> dict[OutputName, Path]:
        """Where the matrix of each kernel goes."""
        names = self.spec.outputs
        return {name: self.out / name if len(names) > 1 else self.out for name in names}

    def plan(self) -> "Plan":
        """Check the items and cut the job; writes nothing.

        Returns
        -------
        Plan
            Of all blocks, stored or not.

        Raises
        ------
        SpecError, PlanError
            When the items cannot be used or the job does not fit.
        """
        from gramserve.arrays import find_cards
        from gramserve.client.items import items_of
        from gramserve.kernels import choose_engine
        from gramserve.plan import make_grid, make_plan

        rows = items_of(self.images)
        columns = None if self.other is None else items_of(self.other)
        self._check(rows, columns)
        engine, why = choose_engine(self.spec, self.precision, self.engine)
        grid = make_grid(
            self.spec,
            rows.shape[1:],
            len(rows),
            None if columns is None else len(columns),
            block_size=self.block_size,
            engine=engine.name,
        )
        return make_plan(
            self.spec,
            rows.shape[1:],
            grid,
            precision=self.precision,
            engine=engine.name,
            why_engine=why,
            temporary_bytes=engine.temporary_bytes(self.spec, rows.shape[1:], self.precision),
            worker_memory_bytes=self.worker_memory_bytes,
            workers=max(1, len(find_cards())) if engine.name == "cuda" else self.workers,
            **self._count_cached(grid, rows, columns),
        )

    def _count_cached(
        self, grid: "Grid", rows: "NDArray[Any]", columns: "NDArray[Any] | None"
    ) -> dict[str, int]:
        if self.cache is None:
            return {}
        from gramserve.blocks import count_adoptable
        from gramserve.kernels import result_dtype
        from gramserve.store import GramHeader, StateLayout, axis_of

        shape = grid.rows, grid.columns
        dtype = result_dtype(self.precision)
        header = GramHeader(shape, dtype, grid.block_size, grid.symmetric)
        first = axis_of(rows)
        sides = first, first if columns is None else axis_of(columns)
        count = count_adoptable(StateLayout(self.cache), header, sides, self.spec, self.precision)
        return {"blocks_cached": count, "blocks_adoptable": count}

    def adopt(self, work: "GramWork") -> int:
        """Take over the blocks that the cache has.

        Parameters
        ----------
        work : GramWork
            From :meth:`open`.

        Returns
        -------
        int
            How many, of all kernels together.
        """
        if self.cache is None:
            return 0
        from gramserve.blocks import adopt_stored
        from gramserve.store import StateLayout

        return adopt_stored(work, StateLayout(self.cache))

    def open(self, plan: "Plan", *, threads: int = 1) -> "GramWork":
        """Take up the stores of this request, making those that are missing.

        Parameters
        ----------
        plan : Plan
            From :meth:`plan`.
        threads : int
            Threads that an engine may use for one block.

        Returns
        -------
        GramWork
            For the scheduler.

        Raises
        ------
        StoreMismatchError
            When ``out`` holds something else; nothing is changed then.
        StoreError
            When a place cannot be written.
        """
        from gramserve.blocks import open_work
        from gramserve.store import DatasetStore, StateLayout, create_gram_group

        self._check_places()
        is_new = not self.working_directory.exists()
        layout = StateLayout(self.working_directory)
        added: list[str] = []
        try:
            layout.ensure()
            datasets = DatasetStore(layout.datasets)
            known = {info.digest for info in datasets.list()}
            sources = (self.images, self.other)
            digests = [datasets.add(path).digest for path in sources if path is not None]
            added = [digest for digest in digests if digest not in known]
            if len(self.spec.outputs) > 1:
                create_gram_group(self.out, self.spec.outputs)
            return open_work(
                plan,
                root=layout.root,
                dataset=digests[0],
                other=digests[1] if len(digests) > 1 else None,
                grams=self.grams,
                memory_bytes=self.worker_memory_bytes,
                threads=threads,
            )
        except BaseException:
            # What this attempt brought must not stay beside a matrix that is not its own.
            if is_new:
                self.remove_working_directory()
            else:
                for digest in added:
                    with contextlib.suppress(StoreError):
                        datasets.delete(digest)
            raise

    def remove_working_directory(self) -> None:
        """Remove items and variances, when the matrix is complete."""
        shutil.rmtree(self.working_directory, ignore_errors=True)

    def _check(self, rows: "NDArray[Any]", columns: "NDArray[Any] | None") -> None:
        from gramserve.client.items import check_finite
        from gramserve.spec import infer_shapes

        infer_shapes(self.spec, rows.shape[1:])
        if columns is not None and columns.shape[1:] != rows.shape[1:]:
            msg = (
                f"items of {self.images} have shape {rows.shape[1:]}, "
                f"of {self.other} {columns.shape[1:]}"
            )
            raise ShapeError(msg)
        check_finite(rows)
        if columns is not None:
            check_finite(columns)

    def _check_places(self) -> None:
        for place in (self.out, self.working_directory):
            if place.exists() and not place.is_dir():
                msg = f"{place} is a file; move it away or choose another place with --out"
                raise StoreError(msg, path=str(place))
        for parent in self.out.absolute().parents:
            if parent.exists() and not parent.is_dir():
                msg = f"{parent} is a file, so {self.out} cannot be made; choose another --out"
                raise StoreError(msg, path=str(self.out))
