"""From a request to a plan: data sets looked up, engine chosen, stored blocks counted."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gramserve.blocks import Executor
from gramserve.blocks.work import gram_attributes
from gramserve.catalog import Catalog, GramRecord, JobRecord
from gramserve.config import Settings
from gramserve.errors import ShapeError
from gramserve.kernels import choose_engine, result_dtype
from gramserve.plan import BlockMap, Grid, Plan, make_grid, make_plan
from gramserve.service.adopter import Adopter, WantedGram, header_of
from gramserve.service.awaited import Awaited
from gramserve.spec import (
    JobRequest,
    KernelSpec,
    OutputName,
    Precision,
    gram_address,
    kernel_address,
    parse_kernel,
)
from gramserve.store import GramStore, StateLayout, masked_blocks, stored_mask, wanted_mask


@dataclass(frozen=True)
class PlannedJob:
    """A plan with the names of what it makes."""

    plan: Plan
    dataset: str
    other: str | None
    grams: Mapping[OutputName, str]
    """Id of the Gram matrix of every kernel."""
    wanted: Mapping[OutputName, WantedGram]
    """What these are, for finding their blocks elsewhere."""

    def as_report(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/plans``."""
        only = next(iter(self.grams.values())) if len(self.grams) == 1 else None
        return {"gram": only, "grams": dict(self.grams), **self.plan.as_report()}


@dataclass(frozen=True)
class _Asked:
    """What a plan depends on."""

    spec: KernelSpec
    dataset: str
    other: str | None
    precision: Precision
    block_size: int | None


_Kin = Mapping[OutputName, Sequence[GramRecord]]


class Planner:
    """Plans jobs of one server.

    Parameters
    ----------
    settings : Settings
        Engine and memory of the workers.
    layout : StateLayout
        Where Gram matrices lie.
    catalog : Catalog
        Knows the data sets.
    executor : Executor
        Knows how many tasks run at once.
    """

    def __init__(
        self, settings: Settings, layout: StateLayout, catalog: Catalog, executor: Executor
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._catalog = catalog
        self._executor = executor
        self.adopter = Adopter(layout, catalog)

    async def plan_request(self, request: JobRequest, spec: KernelSpec) -> PlannedJob:
        """Plan what somebody asks for.

        Parameters
        ----------
        request : JobRequest
            A validated body.
        spec : KernelSpec
            Its kernel.

        Returns
        -------
        PlannedJob
            With the stored blocks counted.

        Raises
        ------
        StoreNotFoundError
            When a data set is not known.
        SpecError, PlanError
            When kernel and items do not fit, or nothing here can compute it.
        """
        asked = _Asked(spec, request.dataset, request.other, request.precision, request.block_size)
        return await self._plan(asked)

    async def plan_job(self, job: JobRecord) -> PlannedJob:
        """Plan a recorded job again, with what is stored now.

        Parameters
        ----------
        job : JobRecord
            From the catalog.

        Returns
        -------
        PlannedJob
            Of the same Gram matrices.
        """
        precision: Precision = job.precision  # type: ignore[assignment]
        spec = parse_kernel(job.spec)
        return await self._plan(_Asked(spec, job.dataset, job.other, precision, job.block_size))

    async def _plan(self, asked: _Asked) -> PlannedJob:
        rows = (await self._catalog.dataset(asked.dataset)).shape
        spec, precision = asked.spec, asked.precision
        kin = {
            name: await self._catalog.kin(kernel_address(spec.for_output(name), precision))
            for name in spec.outputs
        }
        if asked.other is None:
            return await asyncio.to_thread(self._cut, asked, kin, rows, None)
        columns = (await self._catalog.dataset(asked.other)).shape
        if columns[1:] != rows[1:]:
            msg = (
                f"items of dataset have shape {rows[1:]}, items of other {columns[1:]}; "
                "a kernel compares items of one shape"
            )
            raise ShapeError(msg, errors=[{"loc": "other", "message": msg}])
        return await asyncio.to_thread(self._cut, asked, kin, rows, columns[0])

    def _cut(
        self, asked: _Asked, kin: _Kin, shape: tuple[int, ...], columns: int | None
    ) -> PlannedJob:
        spec, precision = asked.spec, asked.precision
        engine, why = choose_engine(spec, precision, self._settings.engine)
        grid = make_grid(
            spec,
            shape[1:],
            shape[0],
            columns,
            block_size=asked.block_size,
            engine=engine.name,
        )
        grams = {
            name: gram_address(
                spec.for_output(name), precision, asked.dataset, asked.other, grid.block_size
            )
            for name in spec.outputs
        }
        wanted = _wanted_grams(spec, precision, (asked.dataset, asked.other), grid, grams)
        cached, stored = self._count_cached(wanted, kin)
        plan = make_plan(
            spec,
            shape[1:],
            grid,
            precision=precision,
            engine=engine.name,
            why_engine=why,
            temporary_bytes=engine.temporary_bytes(spec, shape[1:], precision),
            worker_memory_bytes=self._settings.memory_per_task_bytes,
            # A card computes a block no faster for more threads of its process.
            workers=self._executor.slots
            * (1 if engine.name == "cuda" else self._settings.engine_threads),
            blocks_cached=cached,
            blocks_adoptable=cached - stored,
        )
        return PlannedJob(plan, asked.dataset, asked.other, grams, wanted)

    def _count_cached(self, grams: Mapping[OutputName, WantedGram], kin: _Kin) -> tuple[int, int]:
        """Count the blocks that no kernel has to be computed for: anywhere, and in place."""
        first = next(iter(grams.values()))
        cached, stored = wanted_mask(first.header), wanted_mask(first.header)
        for name, gram in grams.items():
            here = stored_mask(GramStore(self._layout.gram(gram.id), gram.header))
            stored &= here
            cached &= here | self.adopter.adoptable(gram, kin[name], here)
        return int(cached.sum()), int(stored.sum())

    async def adopt(
        self, planned: PlannedJob, should_stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Take over all blocks of a recorded plan that other matrices hold.

        Parameters
        ----------
        planned : PlannedJob
            After :meth:`record`.
        should_stop : callable
            Asked now and then; True ends it, what was taken stays.

        Returns
        -------
        int
            How many blocks were taken over, of all kernels together.

        Raises
        ------
        StorageFullError
            If there is no space.
        """
        return sum(
            [await self.adopter.adopt(gram, should_stop) for gram in planned.wanted.values()]
        )

    async def await_others(self, planned: PlannedJob, running: Collection[str]) -> Awaited | None:
        """Find the missing blocks of a recorded plan that other computations are going to store.

        Parameters
        ----------
        planned : PlannedJob
            After :meth:`adopt`.
        running : collection of str
            Ids of the Gram matrices whose computations began before, and go on.

        Returns
        -------
        Awaited or None
            None when there are none.
        """
        grams = [(gram, await self._catalog.kin(gram.address)) for gram in planned.wanted.values()]
        if not any(other.id in running for _, kin in grams for other in kin):
            return None
        return await asyncio.to_thread(self._await_others, planned.plan.grid, grams, running)

    def _await_others(
        self,
        grid: Grid,
        grams: Sequence[tuple[WantedGram, Sequence[GramRecord]]],
        running: Collection[str],
    ) -> Awaited | None:
        found = Awaited(BlockMap(grid))
        for gram, kin in grams:
            here = stored_mask(GramStore(self._layout.gram(gram.id), gram.header))
            others = [other for other in kin if other.id in running]
            for source, blocks, mask in self.adopter.awaited(gram, others, here):
                theirs = BlockMap(grid, masked_blocks(mask))
                found.sources.append((source, blocks, theirs))
                for block in theirs:
                    found.blocks.add(block)
        return found if found.sources else None

    async def record(self, planned: PlannedJob) -> None:
        """Make the Gram matrices of a plan known, in store and catalog.

        Parameters
        ----------
        planned : PlannedJob
            From :meth:`plan_request`.
        """
        plan, grid = planned.plan, planned.plan.grid
        dtype = result_dtype(plan.precision)
        for name, gram in planned.grams.items():
            spec = plan.spec.for_output(name)
            path = self._layout.gram(gram)
            await asyncio.to_thread(
                GramStore.create,
                path,
                shape=(grid.rows, grid.columns),
                dtype=dtype,
                block_size=grid.block_size,
                symmetric=grid.symmetric,
                attributes=gram_attributes(spec, plan.precision, planned.dataset, planned.other),
            )
            await self._catalog.record_gram(
                gram,
                kernel=spec.kernels[0],
                spec=spec.canonical(),
                precision=plan.precision,
                dataset=planned.dataset,
                other=planned.other,
                rows=grid.rows,
                columns=grid.columns,
                block_size=grid.block_size,
                symmetric=grid.symmetric,
                dtype=str(dtype),
                path=str(path),
                blocks_total=grid.block_count,
                kernel_address=kernel_address(spec, plan.precision),
            )


def _wanted_grams(
    spec: KernelSpec,
    precision: Precision,
    sides: tuple[str, str | None],
    grid: Grid,
    grams: Mapping[OutputName, str],
) -> dict[OutputName, WantedGram]:
    header = header_of(grid, result_dtype(precision))
    return {
        name: WantedGram(gram, spec.for_output(name), precision, *sides, header)
        for name, gram in grams.items()
    }
