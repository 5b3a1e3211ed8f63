"""A real server in its own processes, which tests start, kill and start again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

import gramserve

KEY = "test-key-of-the-live-server"
_START_S = 60.0


def child_environment(**more):
    """Return an environment in which other processes find the gramserve under test."""
    source = str(Path(gramserve.__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    path = source if known is None else f"{source}{os.pathsep}{known}"
    return {**os.environ, "PYTHONPATH": path, **more}


def free_port():
    """Return a port that nothing listens on at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class LiveServer:
    """`gramserve serve` on a state directory; the address stays the same over restarts."""

    def __init__(
        self, data_dir, *, workers=0, module="gramserve", words=(), before=(), **environment
    ):
        self.data_dir = data_dir
        self._module, self._words, self._more = module, words, environment
        self._before = before  # what runs it, and ends by becoming it
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = KEY
        self._workers = workers
        self._process = None
        self._log = data_dir.with_name(data_dir.name + ".log")

    @property
    def environment(self):
        """Environment of commands that talk to it."""
        known = {"GRAMSERVE_URL": self.url, "GRAMSERVE_API_KEY": self.key}
        return child_environment(**known, **self._more)

    @property
    def pid(self):
        """Id of its process, and of the group that its workers belong to."""
        return self._process.pid

    @property
    def is_running(self):
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Start it and wait until it is ready."""
        self.launch()
        self._wait()
        return self

    def launch(self):
        """Start it without waiting."""
        words = ["-m", self._module, "serve", "--data-dir", str(self.data_dir)]
        words += ["--port", str(self.port), "--workers", str(self._workers), *self._words]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, *words],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self):
        """Kill it and its workers with SIGKILL, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def interrupt(self):
        """Send Ctrl-C to it and to its workers, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def wait(self):
        """Wait for its end and return its exit code."""
        return self._process.wait(60)

    @property
    def log(self):
        """All that it wrote."""
        return self._log.read_text()

    def stop(self):
        """Stop it as Ctrl-C would, and make sure that nothing of it stays."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait(self):
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log}")

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()
