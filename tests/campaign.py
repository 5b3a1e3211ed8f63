"""A campaign of SIGKILLs against a server, its Dask scheduler, a nanny and its worker.

The scheduler is one of its own, or it lives with the nannies in the server, which leaves the
workers without parents when it is killed. Every process is started again as a service manager
would do it, and nothing else is repaired. Jobs follow each other until the last kill; then what
they made is compared, bit for bit, with what one process computes in peace, and the counters of
the blocks say what the kills cost.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import zarr
from command_line import gramserve
from fault_table import FaultTable
from faulty_server import window
from live_server import LiveServer, child_environment, free_port

KERNEL = "fc"
ITEMS, BLOCK = 48, 4
BLOCKS = 78
PARTS = ("server", "scheduler", "nanny", "worker")
OWN_PARTS = ("server", "worker")
_PATIENCE_S = 120.0


@dataclass
class Losses:
    """What a campaign cost."""

    kills: Counter = field(default_factory=Counter)
    """SIGKILLs by the parts they hit together."""
    jobs: int = 0
    """Jobs that succeeded."""
    blocks: int = 0
    """Blocks of these jobs."""
    begun: int = 0
    """Attempts at them."""
    window: int = 0
    """Blocks that may be out at once."""
    seconds: float = 0.0

    @property
    def strikes(self):
        """How often something was killed, one part or several at once."""
        return sum(self.kills.values())

    @property
    def repeated(self):
        """Attempts beyond the first."""
        return self.begun - self.blocks


class Cluster:
    """A Dask scheduler and one worker with its nanny, which are started again when they end."""

    def __init__(self, folder):
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._log = folder / "dask.log"
        self._processes = {}

    def keep(self):
        """Start what does not run."""
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        self._keep("scheduler", "dask_scheduler", *words)
        words = [self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
        self._keep("nanny", "dask_worker", *words, "--death-timeout", "30")

    def _keep(self, part, module, *words):
        process = self._processes.get(part)
        if process is not None and process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *words],
                env=child_environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pids(self, part):
        """Return the ids of the processes that are this part."""
        if part != "worker":
            return [self._processes[part].pid]
        return workers_of(self._processes["nanny"].pid)

    def stop(self):
        """End everything."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def workers_of(parent):
    """Return the children of a process that are workers; others only track its resources."""
    found = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in path.read_text().split()]
    return [pid for pid in found if b"spawn_main" in _command(pid)]


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Campaign:
    """One server with its cluster, and the jobs that run on it.

    Parameters
    ----------
    folder : Path
        Empty.
    seed : int
        Decides what is killed when.
    workers : int
        Of the server's own LocalCluster; 0 for a scheduler and a worker of their own.
    pause_s : float
        Seconds that every block takes at least, so that there is something to interrupt.
    """

    def __init__(self, folder, seed, workers=0, pause_s=0.03):
        self._folder = folder
        self._random = random.Random(seed)
        self._cluster = None if workers else Cluster(folder)
        self._parts = OWN_PARTS if workers else PARTS
        address = () if workers else ("--scheduler-address", self._cluster.address)
        self._server = LiveServer(
            folder / "state",
            workers=workers,
            module="faulty_server",
            words=(*address, "--engine", "reference"),
            PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
        )
        self._seen = set()
        self._table = FaultTable(folder / "state")
        self._table.pause(pause_s)
        self._http = httpx.Client(
            base_url=self._server.url,
            headers={"Authorization": f"Bearer {self._server.key}"},
            timeout=10,
            trust_env=False,
        )
        self._jobs = []
        self.losses = Losses(window=window(workers or 1))

    def run(self, kills):
        """Kill that often, let the last job end, check everything and return the losses."""
        began = time.monotonic()
        try:
            self._keep()
            for _ in range(kills):
                self._strike()
            self._until(lambda: self._state() == "succeeded")
            self._check()
        finally:
            self._http.close()
            self._server.stop()
            if self._cluster is not None:
                self._cluster.stop()
        self._check_orphans()
        self.losses.seconds = time.monotonic() - began
        return self.losses

    def _strike(self):
        """Wait until blocks are computed again, then kill some part, or several at once."""
        before = sum(self._table.computed().values())
        self._until(lambda: self._is_busy() and sum(self._table.computed().values()) > before)
        time.sleep(self._random.uniform(0, 0.5))
        most = len(self._parts)
        count = self._random.choices(range(1, most + 1), (6, 2, 1, 1)[:most])[0]
        parts = self._random.sample(self._parts, count)
        self._seen.update(self._pids("worker"))
        pids = [pid for part in parts for pid in self._pids(part)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.losses.kills["+".join(sorted(parts))] += 1

    def _pids(self, part):
        if part == "server":
            return [self._server.pid]
        return self._cluster.pids(part) if self._cluster else workers_of(self._server.pid)

    def _keep(self):
        """Start again what has ended, as a service manager does."""
        if self._cluster is not None:
            self._cluster.keep()
        if not self._server.is_running:
            self._server.launch()

    def _until(self, is_so):
        end = time.monotonic() + _PATIENCE_S
        while True:
            self._keep()
            with contextlib.suppress(httpx.TransportError):
                if is_so():
                    return
            if time.monotonic() > end:
                message = f"nothing happens; the last lines of the server:\n{self._server.log}"
                raise AssertionError(message[-4000:])
            time.sleep(0.05)

    def _is_busy(self):
        """Whether a job computes; the next one is submitted when the last one has ended."""
        state = self._state()
        if state == "succeeded":
            self._submit()
        return state == "running"

    def _state(self):
        """Return the state of the last job; "succeeded" also when there is none."""
        if not self._jobs:
            return "succeeded"
        answer = self._http.get(f"/v1/jobs/{self._jobs[-1]}")
        if answer.status_code == 503:  # starting
            return "unknown"
        body = answer.json()
        if body["state"] not in {"queued", "planning", "running", "succeeded"}:
            raise AssertionError(body)
        return body["state"]

    def _submit(self):
        number = len(self._jobs)
        path = self._folder / f"{number}.npy"
        np.save(path, items(number))
        headers = {"Content-Type": "application/x-npy"}
        answer = self._http.post("/v1/datasets", content=path.read_bytes(), headers=headers)
        body = {"dataset": answer.json()["digest"], "kernel": KERNEL, "block_size": BLOCK}
        # The server may die before it answers: the same key asks for the same job.
        asked = {"Idempotency-Key": str(number)}
        answer = self._http.post("/v1/jobs", json=body, headers=asked)
        if answer.status_code in {200, 202}:
            self._jobs.append(answer.json()["id"])

    def _check(self):
        """Compare every matrix bit for bit, and count."""
        begun = self._table.begun()
        for number, job in enumerate(self._jobs):
            body = self._http.get(f"/v1/jobs/{job}").json()
            if body["state"] != "succeeded" or body["blocks"]["done"] != BLOCKS:
                raise AssertionError(body)
            gram = body["gram"]
            rows = self._http.get(f"/v1/grams/{gram}/rows").content
            found = np.frombuffer(rows, "<f4").reshape(ITEMS, ITEMS)
            np.testing.assert_array_equal(found, self._expected(number))
            attempted = {block for id_, block in begun if id_ == gram}
            if len(attempted) != BLOCKS:
                raise AssertionError(f"{len(attempted)} blocks attempted")
            self.losses.begun += sum(n for (id_, _), n in begun.items() if id_ == gram)
        self.losses.jobs = len(self._jobs)
        self.losses.blocks = BLOCKS * len(self._jobs)

    def _check_orphans(self):
        """Wait until workers whose parents were killed have noticed and ended."""
        end = time.monotonic() + _PATIENCE_S
        while left := [pid for pid in self._seen if b"spawn_main" in _command(pid)]:
            if time.monotonic() > end:
                raise AssertionError(f"workers {left} outlive their parents")
            time.sleep(0.1)

    def _expected(self, number):
        """Compute the matrix in this process, in the same blocks."""
        out = self._folder / f"{number}.zarr"
        words = ["compute", self._folder / f"{number}.npy", "--kernel", KERNEL, "--workers", 0]
        words += ["--engine", "reference", "--block-size", BLOCK, "--out", out]
        result = gramserve(*words)
        if result.exit_code:
            raise AssertionError(result.output)
        return zarr.open_array(out, mode="r")[:]


def items(seed):
    """Return vectors that differ from seed to seed."""
    return np.random.default_rng(seed).standard_normal((ITEMS, 6)).astype("f4")
