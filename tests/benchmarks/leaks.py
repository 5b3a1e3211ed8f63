"""What a server holds after many small jobs: files, threads, processes, memory.

::

    PYTHONPATH=tests python tests/benchmarks/leaks.py --jobs 200

Every job has an upload, a stream of events, three blocks on one of two workers, and its rows read.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from live_server import LiveServer
from resources import holdings_of, run_small_jobs
from talk import Talk

WARM = 20


def main():
    """Run the jobs and print what is held every quarter of the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    count = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(
            Path(folder) / "state",
            workers=2,
            words=("--engine", "reference"),
            PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
        )
        with server, Talk(server) as talk:
            print("| jobs | files | threads | processes | memory, MiB | seconds |")
            print("|---|---|---|---|---|---|")
            run_small_jobs(talk, range(WARM))
            began, done = time.perf_counter(), 0
            while True:
                held = holdings_of(server.pid)
                seconds = time.perf_counter() - began
                print(
                    f"| {WARM + done} | {held.files} | {held.threads} | {held.processes} "
                    f"| {held.resident_bytes / 2**20:.0f} | {seconds:.0f} |",
                    flush=True,
                )
                if done >= count:
                    return
                step = min(-(-count // 4), count - done)
                run_small_jobs(talk, range(WARM + done, WARM + done + step))
                done += step


if __name__ == "__main__":
    main()
