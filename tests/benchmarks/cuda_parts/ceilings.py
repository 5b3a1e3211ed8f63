"""What the card does at most, measured by small kernels of one kind of instruction each."""

import time
from pathlib import Path

import numpy as np

SOURCE = (Path(__file__).parent / "ceilings.cu").read_text()
EACH = 128
"""Instructions of a thread in a round, as ``ceilings.cu`` has it."""
THREADS = 256
ABOUT = {
    "issue": "instructions of threads, of any kind",
    "fma_f32": "float32 multiply-adds",
    "fma_f64": "float64 multiply-adds",
    "shuffle": "exchanges between lanes",
    "root": "square roots and the like",
    "copy": "bytes read and written",
}


def measure_ceilings(device, seconds=0.02, copied=2**28, tries=3):
    """Return how many of each kind a device does in a second.

    Parameters
    ----------
    device : gramserve.arrays.Device
        A card, or the tests' stand-in, for which the numbers mean nothing.
    seconds : float
        Of each measurement, about; 0 for one round.
    copied : int
        Floats that are copied.
    tries : int
        Of which the best counts.

    Returns
    -------
    dict of str to float
        By the names of ``ABOUT``: instructions of threads (32 of a warp) or bytes a second.
    """
    module, stream = device.compile(SOURCE), device.stream()
    blocks = 8 * device.multiprocessors
    one, half = np.float32(0.999), np.float32(0.5)
    with device.guard(), stream:
        out = device.allocate((blocks * THREADS,), np.float32)
        wide = device.allocate((blocks * THREADS,), np.float64)
        source = device.upload(np.ones(copied, np.float32), stream)
        into = device.allocate((copied,), np.float32)
    integers = np.int32(12345), np.int32(987654321)
    threads = blocks * THREADS
    kinds = {
        "issue": (out, EACH * threads, (one, half, *integers)),
        "fma_f32": (out, EACH * threads, (one, half)),
        "fma_f64": (wide, EACH * threads, (np.float64(0.999), np.float64(0.5))),
        "shuffle": (out, EACH * threads, ()),
        "root": (out, EACH * threads, ()),
        "copy": (into, 2 * 4 * copied, (np.int32(copied // 4),)),
    }
    found = {}
    for name, (array, work, rest) in kinds.items():

        def run(rounds, name=name, array=array, rest=rest):
            head = (array, source) if name == "copy" else (array,)
            arguments = (*head, np.int32(rounds), *rest)
            began = time.perf_counter()
            module.launch(name, blocks, THREADS, arguments, stream=stream)
            stream.synchronize()
            return time.perf_counter() - began

        run(1)
        # Enough rounds that the launch does not count.
        first = run(64) / 64 if seconds else 1.0
        rounds = max(1, min(2**20, int(seconds / first)))
        found[name] = work * rounds / min(run(rounds) for _ in range(tries))
    return found
