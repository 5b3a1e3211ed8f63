"""What a process holds: files, memory, threads, children; and jobs that should not add to it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK, COUNT = 4, 8
_AT_ONCE = 4


@dataclass(frozen=True)
class Holdings:
    """What a process and its descendants hold at a moment."""

    files: int
    """Open files, pipes and sockets of the process, without the blocks it keeps open for rows."""
    threads: int
    processes: int
    """Descendants."""
    resident_bytes: int
    """Memory of the process itself."""


def holdings_of(pid):
    """Return what a process holds now."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Holdings(
        files=len(_files(pid)),
        threads=int(status["Threads"]),
        processes=len(_descendants(pid)),
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
    )


def _files(pid):
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(path.readlink())
    return [path for path in found if "/grams/" not in str(path)]


def _descendants(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def run_small_jobs(talk, numbers):
    """Run small jobs, some at a time, each with an upload, its events and its rows."""
    waiting = []
    for number in numbers:
        x = np.random.default_rng(1000 + number).standard_normal((COUNT, 6)).astype("f4")
        waiting.append(talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK))
        if len(waiting) == _AT_ONCE:
            _finish(talk, waiting)
            waiting = []
    _finish(talk, waiting)


def _finish(talk, jobs):
    for job in jobs:
        # The stream of events ends with the job.
        answer = talk.http.get(f"/v1/jobs/{job['id']}/events")
        if talk.wait(job)["state"] != "succeeded" or answer.status_code != 200:
            raise AssertionError(talk.job(job))
        if talk.rows(job["gram"]).shape != (COUNT, COUNT):
            raise AssertionError(job)
