"""What it costs to take blocks over from another matrix: linked, and put together anew.

::

    PYTHONPATH=tests python tests/benchmarks/adoption.py --items 4096 --block-size 1024
    PYTHONPATH=tests python tests/benchmarks/adoption.py --items 1600 --block-size 8

The source is a complete matrix of random numbers. Two matrices are then asked of the real planner
and adopter, with the real store and an SQLite catalog: that of a data set which holds one panel
more, whose blocks are linked, and that of the same items in blocks of another size, which are
gathered and encoded anew. Nothing is computed. Numbers are per block, the processor's besides the
clock's because the latter has the disk in it; checksums of everything that
is taken are checked, and what is written is synced, except for the source.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gramserve.blocks import LoopExecutor
from gramserve.catalog import Catalog
from gramserve.config import Settings
from gramserve.service.planner import Planner
from gramserve.spec import JobRequest, parse_kernel
from gramserve.store import DatasetStore, GramStore, StateLayout

KERNEL = {"preset": "fc", "depth": 1}


async def record(catalog, datasets, items):
    """Store a data set and make it known; return its digest."""
    info = datasets.add(items)
    await catalog.record_dataset(
        info.digest, shape=info.shape, dtype=info.dtype, items=info.items, bytes=info.bytes
    )
    return info.digest


def fill(path, random):
    """Write every block of a matrix as plain files."""
    gram = GramStore.open(path)
    for panel in range(gram.header.panels[0]):
        (path / "c" / str(panel)).mkdir(parents=True)
    for i, j in gram.planned_blocks():
        values = random.random(gram.header.extent(i, j), dtype=np.float32)
        values = (values + values.T) / 2 if i == j else values
        gram.object_path(i, j).write_bytes(b"".join(gram.header.layout.encode(values)))
        gram.object_path(j, i).write_bytes(b"".join(gram.header.layout.encode(values.T)))


async def measure(folder, count, size):
    """Print the table of one size."""
    layout = StateLayout(folder)
    layout.ensure()
    random = np.random.default_rng(0)
    items = random.normal(size=(count + size, 4)).astype("f4")
    spec, datasets = parse_kernel(KERNEL), DatasetStore(layout.datasets)
    async with await Catalog.open(layout.catalog) as catalog:
        planner = Planner(Settings(data_dir=folder, workers=0), layout, catalog, LoopExecutor())
        small = await record(catalog, datasets, items[:count])
        large = await record(catalog, datasets, items)

        async def plan(dataset, block_size):
            request = JobRequest(dataset=dataset, kernel=KERNEL, block_size=block_size)
            return await planner.plan_request(request, spec)

        source = await plan(small, size)
        await planner.record(source)
        blocks = source.plan.grid.block_count
        fill(layout.gram(source.grams["nngp"]), random)
        print(f"{blocks} blocks of {size} x {size}")
        for what, dataset, block_size in (
            ("linked", large, size),
            ("encoded anew", small, 3 * size // 2),
        ):
            began = time.perf_counter()
            planned = await plan(dataset, block_size)
            planned_s = time.perf_counter() - began
            await planner.record(planned)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, busy = time.perf_counter(), time.process_time()
            taken = await planner.adopt(planned)
            seconds, busy_s = time.perf_counter() - began, time.process_time() - busy
            if taken != planned.plan.blocks_adoptable or taken < blocks // 3:
                raise RuntimeError(f"{taken} blocks were taken over: the numbers are void")
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(
                f"{what}: {taken} blocks of {block_size}, planned in {planned_s:.2f} s, "
                f"{1e3 * seconds / taken:.2f} ms a block ({1e3 * busy_s / taken:.2f} of processor "
                f"time), peak memory +{grown:.0f} MiB"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=4096)
    parser.add_argument("--block-size", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), options.items, options.block_size))


if __name__ == "__main__":
    main()
