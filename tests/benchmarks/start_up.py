"""Seconds of the CPU engine's first call in a fresh process, with and without compiled code.

Run it alone on a quiet machine::

    python tests/benchmarks/start_up.py
"""

import os
import subprocess
import sys
import tempfile

FIRST_CALL = """
import time
began = time.perf_counter()
import numpy as np
from gramserve import compute_gram
imported = time.perf_counter()
compute_gram(np.ones((2, 6, 6, 3), np.float32), kernel="myrtle5", engine="cpu", threads=1)
print(imported - began, time.perf_counter() - imported)
"""


def first_call(cache):
    """Seconds of importing gramserve, and of the first call, in a process of its own."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    found = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return [float(number) for number in found.stdout.split()]


def warm(cache):
    """Seconds that `gramserve engines --warm` says it takes."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-m", "gramserve", "engines", "--warm"]
    return subprocess.run(
        command, env=environment, capture_output=True, check=True, text=True
    ).stderr.splitlines()[0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as other:
        print(f"first call, nothing compiled: {first_call(empty)[1]:.1f} s")
        calls = [first_call(empty) for _ in range(5)]
        imported, called = (min(numbers) for numbers in zip(*calls, strict=True))
        print(f"first call, compiled before: {called:.2f} s, after an import of {imported:.2f} s")
        print(f"gramserve engines --warm, {warm(other)}")
