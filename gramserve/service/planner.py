"""From a request to a plan: data sets looked up, engine chosen, stored blocks counted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gramserve.blocks import Executor
from gramserve.blocks.work import gram_attributes
from gramserve.catalog import Catalog, JobRecord
from gramserve.config import Settings
from gramserve.errors import ShapeError, StoreNotFoundError
from gramserve.kernels import choose_engine, result_dtype
from gramserve.plan import BlockIndex, Plan, make_grid, make_plan
from gramserve.spec import (
    JobRequest,
    KernelSpec,
    OutputName,
    Precision,
    gram_address,
    parse_kernel,
)
from gramserve.store import GramStore, StateLayout


@dataclass(frozen=True)
class PlannedJob:
    """A plan with the names of what it makes."""

    plan: Plan
    dataset: str
    other: str | None
    grams: Mapping[OutputName, str]
    """Id of the Gram matrix of every kernel."""

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
        if asked.other is None:
            return await asyncio.to_thread(self._cut, asked, rows, None)
        columns = (await self._catalog.dataset(asked.other)).shape
        if columns[1:] != rows[1:]:
            msg = (
                f"items of dataset have shape {rows[1:]}, items of other {columns[1:]}; "
                "a kernel compares items of one shape"
            )
            raise ShapeError(msg, errors=[{"loc": "other", "message": msg}])
        return await asyncio.to_thread(self._cut, asked, rows, columns[0])

    def _cut(self, asked: _Asked, shape: tuple[int, ...], columns: int | None) -> PlannedJob:
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
            blocks_cached=len(self._stored_everywhere(grams.values())),
        )
        return PlannedJob(plan, asked.dataset, asked.other, grams)

    def _stored_everywhere(self, grams: Any) -> set[BlockIndex]:
        found: list[set[BlockIndex]] = []
        for gram in grams:
            try:
                found.append(GramStore.open(self._layout.gram(gram)).stored_blocks())
            except StoreNotFoundError:
                return set()
        return set.intersection(*found)

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
            )
