"""Milliseconds per pair of the engines side by side, next to what a plan estimates.

Run it alone on a quiet machine::

    python tests/benchmarks/engines.py

One thread evaluates distinct pairs of three-channel images, handwritten digits at 14 x 14 and the
same with a border of noise at 32 x 32; the best of three rounds counts. Variances are computed
before the clock starts, as they are in a job.
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
PAD = ((0, 0), (2, 2), (2, 2))
KERNELS = {
    "myrtle5": "myrtle5",
    "myrtle5 nngp + ntk": {"preset": "myrtle5", "kernel": ["nngp", "ntk"]},
    "myrtle10": "myrtle10",
    "myrtle10 nngp + ntk": {"preset": "myrtle10", "kernel": ["nngp", "ntk"]},
    "cntk, 6 layers": {"preset": "cntk", "depth": 6},
    "cntk, 11, flatten": {"preset": "cntk", "depth": 11, "gap": False},
}


def images(side):
    """Digits as images of three channels with some noise, 14 x 14 or 32 x 32."""
    with np.load(DATA) as data:
        x = data["images"].astype(np.float32) / 255
    x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) if side == 14 else np.pad(x, PAD)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(*x.shape, 3))
    return (x[..., None] + noise).astype(np.float32)


def measure(name, spec, x, precision, variances, count):
    """Seconds per pair, best of three."""
    engine, _ = choose_engine(spec, precision, name)
    keys = np.arange(2 * count)
    rows, columns = (
        Items(x[part], variances[part], keys[part])
        for part in (slice(0, count), slice(count, 2 * count))
    )
    engine.evaluate(spec, rows[:1], columns[:1], precision, memory_bytes=MEMORY)
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        engine.evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)
        best = min(best, time.perf_counter() - began)
    return best / count**2


def main(seconds):
    """Measure and print."""
    for side in (14, 32):
        x = images(side)
        for kernel_name, kernel in KERNELS.items():
            spec = parse_kernel(kernel)
            pair = count_operations(spec, x.shape[1:])
            for precision in ("float32", "float64"):
                found = {}
                for name in ("reference", "cpu"):
                    estimate = pair_seconds(pair, name, precision)
                    # The cpu engine takes 16 columns at a time, whether they are there or not.
                    least = 16 if name == "cpu" else 2
                    count = max(least, min(48, int((seconds / estimate) ** 0.5)))
                    engine, _ = choose_engine(spec, precision, name)
                    variances = engine.variances(
                        spec, x[: 2 * count], precision, memory_bytes=MEMORY
                    )
                    found[name] = measure(name, spec, x, precision, variances, count), estimate
                ratio = found["reference"][0] / found["cpu"][0]
                print(
                    f"{side} x {side}  {kernel_name:20s} {precision}"
                    + "".join(
                        f"  {name} {1000 * took:8.3f} ms (estimated {1000 * estimate:8.3f})"
                        for name, (took, estimate) in found.items()
                    )
                    + f"  {ratio:6.1f} times"
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
