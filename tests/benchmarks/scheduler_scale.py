"""What a block costs when its numbers cost nothing: dispatcher, Dask, store and catalog alone.

Run it alone on a quiet machine; the argument is the number of blocks::

    PYTHONPATH=tests python tests/benchmarks/scheduler_scale.py 1000000

The real service in this process, with a real LocalCluster, real files and a real SQLite catalog,
computes a symmetric Gram matrix of blocks of one entry; only the engine is a null engine, which
answers ones. Every block is two files of a few bytes, both synchronised with the disk, and one row
of the catalog. With ``--null-store`` workers only say that they wrote: a million blocks then take
minutes and not the hours of two million synchronised files. Time of the dispatcher is the processor
time of this process, which also holds Dask's scheduler and the HTTP application; the workers are
processes of their own.
"""

import argparse
import asyncio
import logging
import math
import os
import resource
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import numpy as np
from null_engine import NullExecutor, install_null_engine
from service_app import running_service

from gramserve.blocks import open_executor
from gramserve.service.logs import configure_logs

KERNEL = {"layers": [{"type": "dense"}]}


def resident_bytes():
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def run_job(service, items, seed):
    """Submit a matrix of one-entry blocks; return its body and the highest memory meanwhile."""
    values = np.random.default_rng(seed).normal(size=(items, 2)).astype(np.float32)
    job = await service.submit(await service.upload(values), kernel=KERNEL, block_size=1)
    highest, shown = resident_bytes(), time.monotonic()
    while (body := await service.job(job))["state"] not in {"succeeded", "failed", "cancelled"}:
        highest = max(highest, resident_bytes())
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"  {body['blocks']['done']} stored, {highest / 1e6:.0f} MB", flush=True)
        await asyncio.sleep(0.5)
    if body["state"] != "succeeded":
        raise RuntimeError(body["error"])
    return body, max(highest, resident_bytes())


def thread_seconds():
    """Processor time of every thread of this process, by name."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    seconds = {}
    for thread in threading.enumerate():
        fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rsplit(")", 1)[1]
        used = sum(int(ticks) for ticks in fields.split()[11:13]) * tick
        seconds[thread.name] = seconds.get(thread.name, 0.0) + used
    return seconds


async def measure(folder, blocks, workers):
    items = math.ceil((math.sqrt(8 * blocks + 1) - 1) / 2)
    async with running_service(folder, workers=workers) as service:
        await run_job(service, 40, seed=0)  # workers have started, modules are loaded
        before, executor = resident_bytes(), service.state.executor
        submitted, began, cpu = executor.submitted, time.perf_counter(), time.process_time()
        body, highest = await run_job(service, items, seed=1)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        recorded = await service.state.catalog.block_counts(body["gram"])
        count = body["blocks"]["total"]
        if recorded.stored != count:
            raise RuntimeError(f"{recorded.stored} of {count} blocks are recorded")
        began = time.perf_counter()
        report = (await service.http.get(f"/v1/grams/{body['gram']}")).json()
        looked = time.perf_counter() - began
        threads = sorted(thread_seconds().items(), key=lambda item: -item[1])
        if executor.is_stored and not report["complete"]:
            raise RuntimeError("the matrix is not complete")
    tasks = executor.submitted - submitted
    print(f"{count} blocks in {tasks} tasks, {workers} workers: {wall:.1f} s")
    print(f"  {1e3 * wall / count:.3f} ms a block, {1e3 * cpu / count:.3f} ms of the dispatcher's")
    print(f"  memory {before / 1e6:.0f} MB before, {(highest - before) / 1e6:+.0f} MB at most")
    used = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in threads[:4])
    print(f"  threads that are left: {used}")
    print(f"  report of the matrix in {1e3 * looked:.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("blocks", type=int, nargs="?", default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--null-store", action="store_true")
    options = parser.parse_args()
    install_null_engine(is_stored=not options.null_store)
    configure_logs("warning")
    logging.getLogger("distributed").setLevel(logging.ERROR)

    def null_executor(*args, **how):
        return NullExecutor(open_executor(*args, **how), is_stored=not options.null_store)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("gramserve.service.state.open_executor", null_executor),
    ):
        asyncio.run(measure(Path(folder), options.blocks, options.workers))


if __name__ == "__main__":
    main()
