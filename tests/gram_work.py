"""Real work for tests of the blocks room: images, stores, a plan, an executor."""

import json
import os
from pathlib import Path

import numpy as np

from gramserve.blocks import open_work
from gramserve.kernels import choose_engine
from gramserve.plan import make_grid, make_plan
from gramserve.spec import parse_kernel
from gramserve.store import DatasetStore, GramStore, StateLayout

KERNEL = {
    "kernel": ["nngp", "ntk"],
    "layers": [
        {"type": "conv", "size": 3},
        {"type": "relu", "normalized": True},
        {"type": "avg_pool", "window": 2},
        {"type": "conv", "size": 3},
        {"type": "relu", "normalized": True},
        {"type": "global_avg_pool"},
    ],
}


def images(count, seed=0, side=8):
    """Random float32 images."""
    return np.random.default_rng(seed).normal(size=(count, side, side, 2)).astype(np.float32)


def plan_of(spec, x, other, *, block_size, precision):
    """Plan a Gram matrix of items in memory, for one worker of a GiB."""
    engine, why = choose_engine(spec, precision)
    grid = make_grid(
        spec,
        x.shape[1:],
        len(x),
        None if other is None else len(other),
        block_size=block_size,
        engine=engine.name,
    )
    return make_plan(
        spec,
        x.shape[1:],
        grid,
        precision=precision,
        engine=engine.name,
        why_engine=why,
        temporary_bytes=engine.temporary_bytes(spec, x.shape[1:], precision),
        worker_memory_bytes=2**30,
        workers=1,
    )


def make_work(root, x, other=None, *, kernel=None, block_size=4, precision="float32"):
    """Store items in a state directory and open the work of their Gram matrix."""
    layout = StateLayout(Path(root))
    layout.ensure()
    datasets = DatasetStore(layout.datasets)
    spec = parse_kernel(kernel or KERNEL)
    digests = [datasets.add(items).digest for items in (x, other) if items is not None]
    plan = plan_of(spec, x, other, block_size=block_size, precision=precision)
    return open_work(
        plan,
        root=layout.root,
        dataset=digests[0],
        other=digests[1] if len(digests) > 1 else None,
        grams={name: layout.grams / name for name in spec.kernels},
        memory_bytes=2**30,
    )


def read_grams(work):
    """{"nngp": matrix, ...} of finished work."""
    return {name: GramStore.open(path).read() for name, path in work.grams}


class FailureTable:
    """Which blocks fail how often: counters in a directory, so that every process sees them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def plan(self, block, times, how="raise"):
        """Let the next ``times`` attempts at a block fail."""
        (self.folder / "{}-{}".format(*block)).write_text(json.dumps({"times": times, "how": how}))

    def attempt(self, block):
        """Count an attempt; return how it must fail, or None."""
        with (self.folder / "attempts").open("a") as log:
            log.write("{}-{} {}\n".format(*block, os.getpid()))
        entry = self.folder / "{}-{}".format(*block)
        if not entry.exists():
            return None
        planned = json.loads(entry.read_text())
        if not planned["times"]:
            return None
        entry.write_text(json.dumps({**planned, "times": planned["times"] - 1}))
        return planned["how"]

    def attempts(self):
        """[(block, pid)] of every attempt so far."""
        path = self.folder / "attempts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            (tuple(int(part) for part in line.split()[0].split("-")), int(line.split()[1]))
            for line in lines
        ]
