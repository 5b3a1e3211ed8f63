"""What it costs to sync blocks, and to check them when a matrix is taken up again.

::

    PYTHONPATH=tests python tests/benchmarks/durability.py --folder /srv/disk

Blocks of 1024 x 1024 float32 with their mirrors, 8.4 MB each, written with and without syncing,
then inspected: once after they were written, and once more. Then the same for many tiny blocks.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np

from gramserve.store import GramStore, drop_damaged_blocks


def written(folder, panels, block_size):
    """Return a complete symmetric matrix and the seconds that each block took."""
    count = panels * block_size
    gram = GramStore.create(
        folder, shape=(count, count), dtype="f4", block_size=block_size, symmetric=True
    )
    values = np.random.default_rng(0).standard_normal((block_size, block_size)).astype("f4")
    values += values.T
    seconds = []
    for block in gram.planned_blocks():
        began = time.perf_counter()
        gram.write_block(*block, values)
        seconds.append(time.perf_counter() - began)
    return gram, seconds


def inspected(gram):
    """Return the seconds of an inspection."""
    began = time.perf_counter()
    if damaged := drop_damaged_blocks(gram):
        raise RuntimeError(damaged)
    return time.perf_counter() - began


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--panels", type=int, default=12)
    parser.add_argument("--tiny-panels", type=int, default=300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        with mock.patch.object(os, "fsync", return_value=None):
            _, without = written(folder / "unsynced", asked.panels, 1024)
        gram, synced = written(folder / "synced", asked.panels, 1024)
        ms = 1000 * median(synced), 1000 * median(without)
        print(f"a block of 1024 x 1024 with its mirror: {ms[0]:.1f} ms, unsynced {ms[1]:.1f} ms")
        first, again = inspected(gram), inspected(gram)
        size = 2**20 * 4 * asked.panels**2
        print(
            f"inspecting {gram.block_count} of them: {first:.2f} s, "
            f"{size / first / 1e9:.2f} GB/s; again {again * 1000:.1f} ms"
        )
        with mock.patch.object(os, "fsync", return_value=None):
            tiny, _ = written(folder / "tiny", asked.tiny_panels, 4)
        first, again = inspected(tiny), inspected(tiny)
        count = tiny.block_count
        print(
            f"inspecting {count} tiny ones: {1e6 * first / count:.0f} us each; "
            f"again {1e6 * again / count:.1f} us each"
        )


if __name__ == "__main__":
    main()
