"""Milliseconds per pair of the engines side by side, next to what a plan estimates.

Run it alone on a quiet machine::

    python tests/benchmarks/engines.py

One thread evaluates distinct pairs of colour images, whole (32 x 32) and the middle 14 x 14 of
each; the best of three rounds counts. Variances are computed before the clock starts, as they are
in a job; what they take is printed per image.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from gramserve.kernels import Items, choose_engine
from gramserve.plan import pair_seconds
from gramserve.spec import parse_kernel
from gramserve.stages import count_operations

DATA = Path(__file__).parents[1] / "data" / "cifar_200.npz"
MEMORY = 2**31
BOTH = ["nngp", "ntk"]
CONV, EXP, FLATTEN = {"type": "conv", "size": 3}, {"type": "exp_normalized"}, {"type": "flatten"}


def two_ckn_layers(kind):
    """Two layers of 3 x 3 patches with exp, pooled by 2 and by 5."""
    pools = [{"type": "ckn_pool", "kind": kind, "subsampling": step} for step in (2, 5)]
    return {"layers": [CONV, EXP, pools[0], CONV, EXP, pools[1], FLATTEN]}


KERNELS = {
    "myrtle5": "myrtle5",
    "myrtle5, NNGP and NTK": {"preset": "myrtle5", "kernel": BOTH},
    "myrtle10": "myrtle10",
    "myrtle10, NNGP and NTK": {"preset": "myrtle10", "kernel": BOTH},
    "cntk, 6 layers": {"preset": "cntk", "depth": 6},
    "cntk, 10 layers, flatten": {"preset": "cntk", "depth": 10, "gap": False},
    "two CKN layers, gaussian": two_ckn_layers("gaussian"),
    "two CKN layers, strided": two_ckn_layers("strided"),
}


def images(side):
    """Colour images, standardised one by one; the middle of them where they are smaller."""
    with np.load(DATA) as data:
        x = data["images"].astype(np.float32)
    low = (x.shape[1] - side) // 2
    x = x[:, low : low + side, low : low + side]
    return (x - x.mean(axis=(1, 2, 3), keepdims=True)) / x.std(axis=(1, 2, 3), keepdims=True)


def measure(engine, spec, x, precision, variances, rounds):
    """Seconds per pair, best of some rounds, between the first and the second half of items."""
    half = len(x) // 2
    keys = np.arange(len(x))
    rows, columns = (
        Items(x[part], variances[part], keys[part])
        for part in (slice(0, half), slice(half, 2 * half))
    )
    engine.evaluate(spec, rows[:1], columns[:1], precision, memory_bytes=MEMORY)
    best = np.inf
    for _ in range(rounds):
        began = time.perf_counter()
        engine.evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)
        best = min(best, time.perf_counter() - began)
    return best / half**2


def main(seconds, rounds, only, sides):
    """Measure and print a table."""
    print("| kernel | items | precision | reference | cpu | estimated | variances | times |")
    print("|---|---|---|---|---|---|---|---|")
    for side in sides:
        x = images(side)
        for name, kernel in KERNELS.items():
            # Pools by 2 and by 5 leave nothing of a small image.
            if only not in name or (side < 32 and "CKN" in name):
                continue
            spec = parse_kernel(kernel)
            pair = count_operations(spec, x.shape[1:])
            reference, cpu = (
                choose_engine(spec, "float32", each)[0] for each in ("reference", "cpu")
            )
            began = time.perf_counter()
            variances = cpu.variances(spec, x, "float64", memory_bytes=MEMORY)
            own = (time.perf_counter() - began) / len(x)
            estimate = pair_seconds(pair, "reference")
            count = 2 * max(2, min(32, int((seconds / estimate) ** 0.5)))
            dense = measure(reference, spec, x[:count], "float32", variances, 2)
            for precision in ("float32", "mixed", "float64"):
                estimate = pair_seconds(pair, "cpu", precision)
                # Whole vectors of 16 columns, whether the items are there or not.
                count = 32 * max(1, min(6, int((seconds / estimate) ** 0.5) // 16))
                took = measure(cpu, spec, x[:count], precision, variances, rounds)
                print(
                    f"| {name} | {side} x {side} | {precision} | {1e3 * dense:.3g} "
                    f"| {1e3 * took:.4f} | {1e3 * estimate:.4f} | {1e3 * own:.2f} "
                    f"| {dense / took:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement, about")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    parser.add_argument("--only", default="", help="kernels with this in their name")
    parser.add_argument("--sides", type=int, nargs="*", default=[14, 32], help="of the images")
    given = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        # One thread, as in a worker; NumPy reads this when it is imported.
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    main(**vars(given))
