"""A server of the demo's own: started on a free port, stopped whatever happens."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from gramserve.errors import ServiceUnreachableError

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def running_server(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Run ``gramserve serve`` on a state directory while the context lasts.

    Parameters
    ----------
    data_dir : Path
        The state directory; its log is ``server.log`` beside it.

    Yields
    ------
    tuple of (str, str)
        The server's address and an API key.

    Raises
    ------
    ServiceUnreachableError
        When it does not start; with the end of its log.
    """
    port, key = _free_port(), secrets.token_urlsafe(16)
    url = f"http://127.0.0.1:{port}"
    log_path = data_dir.with_name("server.log")
    command = [sys.executable, "-m", "gramserve", "serve"]
    options = ["--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", str(port)]
    with log_path.open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter and our own options
            [*command, *options],
            env={**os.environ, "GRAMSERVE_API_KEY": key},
            stdout=log,
            stderr=log,
            # A Ctrl-C in the terminal is for the demo, which then stops the server in order.
            start_new_session=True,
        )
    try:
        _wait_until_ready(server, url, log_path)
        yield url, key
    finally:
        _stop(server)


def _wait_until_ready(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-2000:]
    msg = f"the server of the demo did not start; its log {log} ends with:\n{tail}"
    raise ServiceUnreachableError(msg)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Ask the server to stop, and end its whole process group when it does not."""
    try:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
            server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also when a second Ctrl-C cuts the waiting short.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
