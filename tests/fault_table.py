"""What happens to every attempt at a block, as a table in the state directory says.

The table and its counters are files, so that they hold for all processes and survive all kills.
"""

import fcntl
import json
import os
import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from damage import flip_data

from gramserve.blocks import BlockResult, Failure
from gramserve.blocks.task import BlockTask
from gramserve.blocks.worker import compute_blocks, worker_name
from gramserve.store import GramStore

FOLDER = "faults"
PLACE = "FAULT_TABLE"
"""Variable that names another directory than the state directory, for disks that are full."""

OUTCOMES = ("raise", "exit", "hang", "corrupt")


class FaultTable:
    """Outcomes of the coming attempts at blocks, and counts of those that were.

    Parameters
    ----------
    root : path
        State directory.
    """

    def __init__(self, root):
        self.folder = Path(os.environ.get(PLACE, root)) / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)

    def plan(self, block, *outcomes, pause_s=0.0):
        """Say how the next attempts at a block end; those after them are undisturbed."""
        with self._locked():
            planned = self._planned()
            planned["blocks"]["{}-{}".format(*block)] = outcomes
            planned["pause_s"] = pause_s
            (self.folder / "table").write_text(json.dumps(planned))

    def pause(self, pause_s):
        """Let every attempt take that long at least."""
        (self.folder / "table").write_text(json.dumps({"blocks": {}, "pause_s": pause_s}))

    def begin(self, grams, block):
        """Count an attempt, wait as planned, and return its outcome; None is undisturbed."""
        outcome = None
        with self._locked():
            self._count("begun", grams, block)
            planned = self._planned()
            left = list(planned["blocks"].get("{}-{}".format(*block), ()))
            if left:
                outcome = left.pop(0)
                planned["blocks"]["{}-{}".format(*block)] = left
                (self.folder / "table").write_text(json.dumps(planned))
        time.sleep(planned["pause_s"])
        return outcome

    def end(self, grams, block):
        """Count that a block was computed and stored for these matrices."""
        self._count("computed", grams, block)

    def hang(self):
        """Do nothing until somebody kills the process, whose id is noted."""
        (self.folder / "hanging").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)

    @property
    def hanging(self):
        """Id of the process that hangs, None when there was none."""
        path = self.folder / "hanging"
        return int(path.read_text()) if path.exists() else None

    def begun(self):
        """Return how often each (matrix, block) was attempted."""
        return self._counts("begun")

    def computed(self):
        """Return how often each (matrix, block) was computed and stored."""
        return self._counts("computed")

    def _planned(self):
        path = self.folder / "table"
        return json.loads(path.read_text()) if path.exists() else {"blocks": {}, "pause_s": 0.0}

    def _count(self, kind, grams, block):
        lines = "".join(f"{gram} {block[0]} {block[1]}\n" for gram in grams)
        with (self.folder / kind).open("ab", buffering=0) as log:
            log.write(lines.encode())  # one write: whole lines, whoever else writes

    def _counts(self, kind):
        path = self.folder / kind
        lines = path.read_text().splitlines() if path.exists() else []
        words = [line.split() for line in lines]
        return Counter((gram, (int(i), int(j))) for gram, i, j in words)

    @contextmanager
    def _locked(self):
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class FaultyBlockTask(BlockTask):
    """A block task in whose way the table of its state directory stands."""

    def run(self):
        table = FaultTable(self.rows.root)
        return [self._attempt(table, block) for block in self.blocks]

    def _attempt(self, table, block):
        grams = {name: Path(path).name for name, path in self.grams}
        outcome = table.begin(grams.values(), block)
        if outcome == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        if outcome == "hang":
            table.hang()
        if outcome == "raise":
            failure = Failure("block", "injected")
            return BlockResult(block, 0.0, worker_name(), "none", "none", failure=failure)
        (result,) = compute_blocks(replace(self, blocks=(block,)))
        table.end([grams[name] for name, _ in result.checksums], block)
        if outcome == "corrupt":
            for _, path in self.grams:
                flip_data(GramStore.open(path).object_path(*block))
        return result
