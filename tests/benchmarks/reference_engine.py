"""Milliseconds per pair of the reference engine, next to what a plan estimates.

Run it alone on a quiet machine::

    python tests/benchmarks/reference_engine.py

One thread evaluates distinct pairs of handwritten digits, at 14 x 14 and 28 x 28; the best of
three rounds counts. Variances are computed before the clock starts, as they are in a job.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from gramserve.kernels import Items, choose_engine
from gramserve.plan.cost import pair_seconds
from gramserve.spec import parse_kernel
from gramserve.stages import count_operations

DATA = Path(__file__).parents[1] / "data" / "mnist_200.npz"
MEMORY = 2**30
KERNELS = {
    "myrtle5": "myrtle5",
    "myrtle5 nngp + ntk": {"preset": "myrtle5", "kernel": ["nngp", "ntk"]},
    "myrtle10": "myrtle10",
    "cntk, 6 layers, ntk": {"preset": "cntk", "depth": 6, "kernel": "ntk"},
}


def images(side):
    """Digits of 28 x 28 or, as means of 2 x 2, of 14 x 14."""
    with np.load(DATA) as data:
        x = data["images"].astype(np.float32) / 255
    if side == 14:
        x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return x[..., None]


def measure(spec, x, precision, pairs):
    """Seconds per pair, best of three."""
    engine, _ = choose_engine(spec, precision, "reference")
    count = max(2, int(pairs**0.5))
    rows, columns = x[:count], x[count : 2 * count]
    sides = [
        Items(side, engine.variances(spec, side, precision, memory_bytes=MEMORY), keys)
        for side, keys in ((rows, np.arange(count)), (columns, count + np.arange(count)))
    ]
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        engine.evaluate(spec, *sides, precision, memory_bytes=MEMORY)
        best = min(best, time.perf_counter() - began)
    return best / count**2


def main(seconds):
    """Measure and print."""
    for side in (14, 28):
        x = images(side)
        for name, kernel in KERNELS.items():
            spec = parse_kernel(kernel)
            for precision in ("float32", "float64"):
                pair = count_operations(spec, x.shape[1:])
                estimate = pair_seconds(pair, "reference", precision)
                measured = measure(spec, x, precision, min(2500, max(4, seconds / estimate)))
                print(
                    f"{side} x {side}  {name:20s} {precision}  {1000 * measured:7.2f} ms a pair   "
                    f"estimated {1000 * estimate:7.2f} ms, {estimate / measured:.2f} of it"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement, about")
    given = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        # One thread, as in a worker; NumPy reads this when it is imported.
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    main(**vars(given))
