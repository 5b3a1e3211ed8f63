"""What the service costs over the bare engine, on the same blocks and as many processes.

Run it alone on a quiet machine::

    PYTHONPATH=tests python tests/benchmarks/service_overhead.py

The bare engine is a pool of processes that evaluate the blocks of a Gram matrix and throw them
away: no store, no Dask, no catalog, no HTTP. The service is a real server with as many workers;
it gets the same matrix as a job, and its time runs from the submission until the job has
succeeded, warm: the workers have run a job before. Rounds alternate, ratios are within a round.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from live_server import LiveServer

from gramserve.client import connect
from gramserve.demo.images import load_images
from gramserve.kernels import Items, choose_engine
from gramserve.plan import Grid
from gramserve.spec import parse_kernel

MEMORY = 2**30


def evaluate(spec, x, variances, block, grid):
    """One block by the engine alone."""
    engine, _ = choose_engine(spec, "float32")
    keys = np.arange(len(x))
    rows, columns = (
        Items(x[slice(*span)], variances[slice(*span)], keys[slice(*span)])
        for span in (grid.row_range(block[0]), grid.column_range(block[1]))
    )
    values = engine.evaluate(spec, rows, columns, "float32", memory_bytes=MEMORY)
    return float(values["nngp"].sum())


def bare_seconds(pool, spec, x, grid):
    """Seconds of all blocks and the variances, on a warm pool."""
    engine, _ = choose_engine(spec, "float32")
    began = time.perf_counter()
    variances = engine.variances(spec, x, "float32", memory_bytes=MEMORY)
    futures = [pool.submit(evaluate, spec, x, variances, block, grid) for block in grid.blocks()]
    for future in futures:
        future.result()
    return time.perf_counter() - began


def service_seconds(client, x, kernel, block_size):
    """Seconds from submission to success."""
    data = client.datasets.upload(x)
    began = time.perf_counter()
    job = client.submit(data, kernel=kernel, block_size=block_size)
    job.wait(progress=False)
    seconds = time.perf_counter() - began
    if job.report.blocks.reused:
        raise RuntimeError("blocks were reused: the comparison is void")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=480)
    parser.add_argument("--block-size", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    carried = load_images()
    spec = parse_kernel("myrtle5")
    # The middle 28 x 28 pixels, averaged to 14 x 14; the same from right to left makes enough.
    middle = np.concatenate([carried.train, carried.test])[:, 2:30, 2:30] / np.float32(255)
    small = middle.reshape(-1, 14, 2, 14, 2, 3).mean(axis=(2, 4))
    images = np.concatenate([small, small[:, :, ::-1]])[: options.items]
    grid = Grid(len(images), len(images), options.block_size, symmetric=True)
    context = multiprocessing.get_context("spawn")
    ratios = []
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveServer(Path(folder) / "state", workers=options.workers) as server,
        connect(server.url, api_key=server.key) as client,
        ProcessPoolExecutor(options.workers, mp_context=context) as pool,
    ):
        first = Grid(16, 16, 8, symmetric=True)
        bare_seconds(pool, spec, images[:16], first)
        service_seconds(client, images[:16], "myrtle5", 8)
        for number in range(options.rounds):
            # A matrix is computed once: every round has images of its own.
            x = images + np.float32(1e-3 * (number + 1))
            bare = bare_seconds(pool, spec, x, grid)
            service = service_seconds(client, x, "myrtle5", options.block_size)
            ratios.append(service / bare)
            each = bare * options.workers / grid.block_count
            print(
                f"round {number + 1}: {grid.block_count} blocks of about {each:.2f} s, "
                f"bare {bare:.2f} s, service {service:.2f} s, ratio {ratios[-1]:.3f}"
            )
    print(f"median overhead {np.median(ratios) - 1:+.1%} on {options.workers} workers")


if __name__ == "__main__":
    main()
