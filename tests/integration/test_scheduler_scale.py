"""Ten thousand blocks that cost nothing, through the real service, Dask and the catalog.

Workers compute and write nothing, they only say so: what is left is what every block costs on its
way. ``tests/benchmarks/scheduler_scale.py`` does the same with a million, and with real files.
"""

import numpy as np
import pytest
from null_engine import NullExecutor, install_null_engine
from service_app import running_service

from gramserve.blocks import open_executor
from gramserve.catalog import Catalog
from gramserve.catalog.events import PROGRESS_KEPT
from gramserve.spec import block_address, parse_kernel

pytestmark = pytest.mark.usefixtures("lost_connections")

KERNEL = {"layers": [{"type": "dense"}]}
ITEMS = 141


async def test_ten_thousand_blocks_go_through_in_batches(tmp_path, monkeypatch):
    undo = install_null_engine(is_stored=False)
    executors, batches = [], []
    record = Catalog.record_blocks

    def null_executor(*args, **how):
        executors.append(NullExecutor(open_executor(*args, **how), is_stored=False))
        return executors[-1]

    async def counted(self, records):
        batches.append(len(records))
        await record(self, records)

    monkeypatch.setattr("gramserve.service.state.open_executor", null_executor)
    monkeypatch.setattr(Catalog, "record_blocks", counted)
    x = np.random.default_rng(0).normal(size=(ITEMS, 2)).astype(np.float32)
    try:
        async with running_service(tmp_path, workers=2) as service:
            digest = await service.upload(x)
            job = await service.submit(digest, kernel=KERNEL, block_size=1)
            body = await service.until(job, "succeeded", "failed")
            catalog, datasets = service.state.catalog, service.state.datasets
            blocks = await catalog.blocks(job["gram"])
            events = await catalog.events_after(job["id"], limit=10_000)
            total = ITEMS * (ITEMS + 1) // 2
            assert body["blocks"] == {"total": total, "done": total, "reused": 0, "failed": 0}
            assert [(b.i, b.j) for b in blocks] == [
                (i, j) for i in range(ITEMS) for j in range(i, ITEMS)
            ]
            place = blocks[1234]
            ends = [datasets.range_digest(digest, k, k + 1) for k in (place.i, place.j)]
            assert place.address == block_address(parse_kernel(KERNEL), "float32", *ends)
            assert sum(batches) == total
            assert len(batches) < total / 50  # rows of the catalog are written together
            assert executors[0].submitted < total / 20  # and blocks are sent together
            assert len(events) <= PROGRESS_KEPT
    finally:
        undo()
