"""Audits of matrices: some of their blocks computed again by the workers, in float64."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from gramserve.blocks import (
    AuditedBlock,
    Executor,
    Recipe,
    audit_blocks,
    audit_tolerance,
    place_items,
)
from gramserve.catalog import Catalog, GramRecord
from gramserve.catalog.times import utc_now
from gramserve.config import Settings
from gramserve.errors import BlockMissingError
from gramserve.kernels import choose_engine
from gramserve.plan import Grid
from gramserve.service.background import run_in_daemon
from gramserve.service.chore import Chore
from gramserve.spec import KernelSpec, Precision, parse_kernel
from gramserve.spec.cache_reports import AuditReport
from gramserve.store import GramStore, StateLayout, masked_blocks, stored_canonical

_LISTED = 100


class Auditor:
    """Audits matrices of one server, one audit of a matrix at a time.

    Parameters
    ----------
    settings, layout, catalog, executor
        Parts of the server.
    """

    def __init__(
        self, settings: Settings, layout: StateLayout, catalog: Catalog, executor: Executor
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._catalog = catalog
        self._executor = executor
        self._chores: dict[str, Chore[AuditReport]] = {}

    def report(self, gram: GramRecord) -> AuditReport | None:
        """Return the present or the last audit of a matrix, None when there was none."""
        chore = self._chores.get(gram.id)
        if chore is not None and chore.report is not None:
            return chore.report
        return None if gram.audit is None else AuditReport.model_validate(gram.audit)

    async def start(self, gram: GramRecord, every: int) -> AuditReport:
        """Begin an audit.

        Parameters
        ----------
        gram : GramRecord
            Which matrix; those of its blocks that are stored are audited.
        every : int
            Every how many blocks one is computed again, the first one always.

        Returns
        -------
        AuditReport
            As it begins.

        Raises
        ------
        ConflictError
            When one of this matrix goes on already.
        BlockMissingError
            When nothing is stored yet.
        """
        for other in [name for name, chore in self._chores.items() if not chore.is_running]:
            if other != gram.id:  # its report is in the catalog
                del self._chores[other]
        store = await asyncio.to_thread(GramStore.open, self._layout.gram(gram.id))
        blocks = list(masked_blocks(await asyncio.to_thread(stored_canonical, store), every))
        if not blocks:
            raise BlockMissingError("no block of this matrix is stored yet; wait for its job")
        spec = parse_kernel(gram.spec)
        precision: Precision = gram.precision  # type: ignore[assignment]
        engine = choose_engine(spec, "float64", self._settings.engine)[0].name
        chore: Chore[AuditReport] = self._chores.setdefault(gram.id, Chore("an audit"))
        report = AuditReport(
            state="running",
            every=every,
            blocks_total=len(blocks),
            tolerance=audit_tolerance(spec, precision),
            engine=engine,
            started=utc_now(),
        )

        def update(**changes: Any) -> None:
            if chore.report is not None:
                chore.report = chore.report.model_copy(update=changes)

        async def work() -> None:
            loop = asyncio.get_running_loop()

            def compare() -> None:
                for found in self._compute(gram, spec, engine, blocks, chore.should_stop):
                    loop.call_soon_threadsafe(_book, chore, found)

            await run_in_daemon(compare, f"audit-{gram.id}")
            await asyncio.sleep(0)  # the last bookings are in the loop's queue
            now = chore.report or report
            is_done = now.blocks_done == now.blocks_total
            update(
                state="done" if is_done else "stopped",
                passed=not now.failed_blocks if is_done else None,
                finished=utc_now(),
            )
            ended = chore.report or report
            await self._catalog.record_audit(gram.id, ended.model_dump(mode="json"))

        def fail(error: str) -> None:
            update(state="failed", errors=[error], finished=utc_now())

        chore.start(work, fail)
        chore.report = report
        return report

    def _compute(
        self,
        gram: GramRecord,
        spec: KernelSpec,
        engine: str,
        blocks: list[tuple[int, int]],
        should_stop: Callable[[], bool],
    ) -> Iterator[AuditedBlock]:
        recipe = Recipe(
            spec,
            "float64",
            engine,
            self._settings.memory_per_task_bytes // 2,
            self._settings.engine_threads,
        )
        root = self._layout.root
        rows = place_items(root, gram.dataset, spec, "float64", engine)
        columns = rows
        if gram.other is not None:
            columns = place_items(root, gram.other, spec, "float64", engine)
        yield from audit_blocks(
            self._executor,
            recipe,
            blocks,
            places=(rows, columns),
            grid=Grid(gram.rows, gram.columns, gram.block_size, gram.symmetric),
            gram=str(self._layout.gram(gram.id)),
            should_stop=should_stop,
        )

    async def close(self) -> None:
        """End all audits; what they have found is kept."""
        await asyncio.gather(*(chore.stop() for chore in self._chores.values()))


def _book(chore: Chore[AuditReport], found: AuditedBlock) -> None:
    report = chore.report
    if report is None:
        return
    changes: dict[str, Any] = {"blocks_done": report.blocks_done + 1}
    if found.error is not None:
        changes["errors"] = [*report.errors, found.error][:_LISTED]
    elif report.worst_block is None or found.difference > report.largest_difference:
        changes |= {"largest_difference": found.difference, "worst_block": found.block}
    if not found.difference <= report.tolerance:
        changes["failed_blocks"] = [*report.failed_blocks, found.block][:_LISTED]
    chore.report = report.model_copy(update=changes)
