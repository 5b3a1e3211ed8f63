"""Running the application: one process, one port, one event loop."""

import asyncio
import contextlib
import errno
import resource
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from gramserve.config import Settings
from gramserve.errors import ConflictError, StoreError
from gramserve.service.app import create_app
from gramserve.service.logs import configure_logs
from gramserve.service.row_lane import RowLane

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048
_OPEN_FILES = 32_768


class _Server(uvicorn.Server):
    """Uvicorn, except that streams are told to end and that the caller cleans up."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # For people and for scripts that start a server on port 0.
            print(f"gramserve listens on {url_of(listener)}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn raises the signal again when it is done, which would interrupt the closing
        # of catalog and workers that comes after it.
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _allow_many_files() -> None:
    """Raise the soft limit of open files: rows are fastest from files that stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(settings: Settings) -> None:
    """Run a server until it is told to stop.

    Prints its address on standard output and, the first time, the API key that it made.

    Parameters
    ----------
    settings : Settings
        Of the server; port 0 takes a free one.

    Raises
    ------
    ConflictError
        When the port is taken, or another server uses the state directory.
    StoreError, CatalogError
        When the state directory or the database cannot be used.
    """
    configure_logs(settings.log_level)
    _allow_many_files()
    with bound_socket(settings.host, settings.port) as listener:
        app = create_app(settings)
        config = uvicorn.Config(
            RowLane(app),
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            backlog=_BACKLOG,
            server_header=False,
            timeout_graceful_shutdown=int(settings.shutdown_timeout_s),
        )
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_run(app, config, listener))


async def _run(app: FastAPI, config: uvicorn.Config, listener: socket.socket) -> None:
    # Not uvicorn's lifespan: what fails here should reach the caller as it is.
    async with app.router.lifespan_context(app):
        if app.state.generated_key is not None:
            notice = f"API key (admin), shown only now: {app.state.generated_key}"
            print(notice, flush=True)
        await _Server(config, app.state.service.closing).serve([listener])


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        0 for a free one.

    Returns
    -------
    socket.socket
        Not listening yet; to be closed.

    Raises
    ------
    ConflictError
        When the port is taken.
    StoreError
        When the address is not one of this machine's, or the port is reserved.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        where = f"port {port} of {host}"
        if error.errno == errno.EADDRINUSE:
            msg = f"{where} is in use; stop what listens there, or choose another with --port"
            raise ConflictError(msg, host=host, port=port) from error
        msg = (
            f"cannot listen on {where}: {error.strerror or error}; choose another --host or --port"
        )
        raise StoreError(msg, host=host, port=port) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
