"""How the CPU engine scales over threads, next to a plain multiply-add loop.

Run it alone on a quiet machine::

    python tests/benchmarks/threads.py

A block of Myrtle10 on 32 x 32 colour images is evaluated by one thread and by one for every core;
so is a loop of multiply-adds in registers, which shows what the machine gives to several threads at
all: cores of virtual machines may share one. The four take turns, and the best round of each
counts. Processes, one for each core as under Dask, are measured as well.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
from engines import MEMORY, images
from numba import njit

from gramserve.kernels import Items, choose_engine
from gramserve.kernels.cpu.lanes import JIT, fill, multiply_add, store
from gramserve.machine import usable_cores
from gramserve.spec import parse_kernel

TURNS = 400_000_000
ITEMS = 64


@njit(**JIT)
def _chains(out, turns):
    a, b, c, d = fill(out, 1.0), fill(out, 2.0), fill(out, 3.0), fill(out, 4.0)
    e, f, g, h = fill(out, 5.0), fill(out, 6.0), fill(out, 7.0), fill(out, 8.0)
    by, term = fill(out, 0.999), fill(out, 0.001)
    for _ in range(turns // 8):
        a, b = multiply_add(a, by, term), multiply_add(b, by, term)
        c, d = multiply_add(c, by, term), multiply_add(d, by, term)
        e, f = multiply_add(e, by, term), multiply_add(f, by, term)
        g, h = multiply_add(g, by, term), multiply_add(h, by, term)
    store(out, 0, a + b + c + d + e + f + g + h)


@njit(nogil=True)
def multiply_adds(out, turns):
    """Eight chains of multiply-adds: as many as hide their latency."""
    _chains(out, turns)


def seconds(run):
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def block():
    """Engine, spec and two panels of a block of Myrtle10."""
    spec = parse_kernel("myrtle10")
    engine, _ = choose_engine(spec, "float32", "cpu")
    x = images(32)[: 2 * ITEMS]
    variances = engine.variances(spec, x, "float32", memory_bytes=MEMORY, threads=usable_cores())
    keys = np.arange(len(x))
    rows, columns = (
        Items(x[part], variances[part], keys[part])
        for part in (slice(0, ITEMS), slice(ITEMS, 2 * ITEMS))
    )
    return engine, spec, rows, columns


_KEPT = []


def evaluate_part(part, parts):
    """Evaluate some of the rows, in a process that keeps the items."""
    if not _KEPT:
        _KEPT.append(block())
    engine, spec, rows, columns = _KEPT[0]
    if parts:
        step = ITEMS // parts
        some = rows[part * step : (part + 1) * step]
        engine.evaluate(spec, some, columns, "float32", memory_bytes=MEMORY)


def main(rounds):
    """Measure and print."""
    cores = usable_cores()
    engine, spec, rows, columns = block()

    def evaluate(threads):
        engine.evaluate(spec, rows, columns, "float32", memory_bytes=MEMORY, threads=threads)

    def add(threads):
        with ThreadPoolExecutor(threads) as pool:
            rooms = [np.zeros(16, np.float32) for _ in range(threads)]
            list(pool.map(lambda room: multiply_adds(room, TURNS // threads), rooms))

    multiply_adds(np.zeros(16, np.float32), 8)
    evaluate(1)
    best = dict.fromkeys(("loop 1", "loop", "engine 1", "engine", "processes"), np.inf)
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        list(pool.map(evaluate_part, range(cores), [0] * cores))
        for _ in range(rounds):
            runs = {
                "loop 1": lambda: add(1),
                "loop": lambda: add(cores),
                "engine 1": lambda: evaluate(1),
                "engine": lambda: evaluate(cores),
                "processes": lambda: list(pool.map(evaluate_part, range(cores), [cores] * cores)),
            }
            for name, run in runs.items():
                best[name] = min(best[name], seconds(run))
    loop, threads = best["loop 1"] / best["loop"], best["engine 1"] / best["engine"]
    processes = best["engine 1"] / best["processes"]
    print(
        f"{cores} cores; multiply-adds {2 * 16 * TURNS / best['loop 1'] / 1e9:.0f} GFLOP/s on one"
    )
    print(f"one thread: {1e3 * best['engine 1'] / ITEMS**2:.3f} ms a pair")
    print(f"scaling of the multiply-add loop: {loop:.2f}")
    print(f"scaling of the engine's threads:  {threads:.2f} ({threads / loop:.0%} of the loop's)")
    print(f"scaling of processes:             {processes:.2f} ({processes / loop:.0%})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main(**vars(given))
