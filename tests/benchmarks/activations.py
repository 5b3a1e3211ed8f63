"""Milliseconds per pair of every activation, and what readouts and averages save.

Run it alone on a quiet machine::

    python tests/benchmarks/activations.py

The network is Myrtle5 without its head, with each activation in place of the rectifier, on colour
images of 32 x 32 in float32, one thread; NNGP, and NNGP with NTK. The reference engine evaluates
one pair of it. Then all depths of a CNTK of depth 11 in one pass against one by one, and the CNTK
of depth 5 averaged over flips against the plain one.
"""

import argparse
import os
import sys
import time
import warnings

import numpy as np
from engines import MEMORY, images, measure

from gramserve.compute import compute_gram
from gramserve.errors import QuadratureWarning
from gramserve.kernels import ENGINES
from gramserve.plan import pair_seconds
from gramserve.spec import parse_kernel
from gramserve.stages import count_operations

ACTIVATIONS = {
    "relu": {"type": "relu", "normalized": True},
    "abs": {"type": "abs"},
    "arc_cosine, order 2": {"type": "arc_cosine", "order": 2, "normalized": True},
    "step": {"type": "step"},
    "erf": {"type": "erf"},
    "gelu": {"type": "gelu"},
    "gaussian": {"type": "gaussian"},
    "gabor": {"type": "gabor"},
    "sin": {"type": "sin"},
    "rbf": {"type": "rbf", "gamma": 0.5},
    "exp": {"type": "exp", "a": 0.3, "b": 0.2},
    "exp_normalized": {"type": "exp_normalized"},
    "polynomial, degree 3": {"type": "polynomial", "coefficients": [0.02, 0.3, 0.02, -0.005]},
    "numeric tanh, degree 50": {"type": "numeric", "function": "tanh", "degree": 50},
}


def network(activation, kernels):
    """Myrtle5 with another activation."""
    parts = {
        "c": {"type": "conv", "size": 3},
        "a": activation,
        "p": {"type": "avg_pool", "window": 2},
    }
    layers = [parts[letter] for letter in "cacapcapca"]
    return parse_kernel({"layers": [*layers, {"type": "global_avg_pool"}], "kernel": kernels})


def seconds(kernel, x):
    """Best of three Gram matrices."""
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        compute_gram(x, kernel=kernel, threads=1)
        best = min(best, time.perf_counter() - began)
    return best


def main(only):
    """Measure and print tables."""
    warnings.simplefilter("ignore", QuadratureWarning)
    x = images(32)[:64]
    print(
        "| activation | cpu, NNGP | estimated | cpu, both | estimated | reference, both | times |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, activation in ACTIVATIONS.items():
        if only not in name:
            continue
        took, estimates = [], []
        for kernels in ("nngp", ["nngp", "ntk"]):
            spec = network(activation, kernels)
            variances = ENGINES["cpu"].variances(spec, x, "float64", memory_bytes=MEMORY)
            took.append(measure(ENGINES["cpu"], spec, x, "float32", variances, 3))
            estimates.append(pair_seconds(count_operations(spec, x.shape[1:]), "cpu", "float32"))
        dense = measure(ENGINES["reference"], spec, x[:2], "float32", variances, 1)
        print(
            f"| {name} | {1e3 * took[0]:.2f} | {1e3 * estimates[0]:.2f} | {1e3 * took[1]:.2f} "
            f"| {1e3 * estimates[1]:.2f} | {1e3 * dense:.0f} | {dense / took[1]:.0f} |",
            flush=True,
        )
    x = images(14)[:64]
    kernel = parse_kernel(
        {"preset": "cntk", "depth": 11, "readouts": True, "kernel": ["nngp", "ntk"]}
    )
    both = ("nngp", "ntk")
    names = ["", *(f"{readout.name}." for readout in kernel.readouts)]
    apart = [kernel.for_output(f"{name}nngp").model_copy(update={"kernel": both}) for name in names]
    together, one_by_one = seconds(kernel, x), sum(seconds(spec, x) for spec in apart)
    print(f"\nCNTK at depths 2 to 11: together {together:.2f} s, one by one {one_by_one:.2f} s")
    plain = seconds({"preset": "cntk", "depth": 5}, x)
    flips = seconds({"preset": "cntk", "depth": 5, "augment": "flips"}, x)
    print(f"CNTK of depth 5: plain {plain:.2f} s, averaged over flips {flips:.2f} s")


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        # One thread, as in a worker; NumPy reads this when it is imported.
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="activations with this in their name")
    main(**vars(parser.parse_args()))
