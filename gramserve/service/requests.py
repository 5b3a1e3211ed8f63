"""Every request: its id, its line in the log, and an answer whatever happens."""

import itertools
import secrets
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gramserve.service.errors import http_problem

REQUEST_ID = "X-Request-ID"
"""Header that names a request in the log."""

_PREFIX = secrets.token_hex(4)
_numbers = itertools.count(1)
_log = structlog.get_logger("gramserve.requests")


def next_request_id() -> str:
    """Return a name that no other request of this or an earlier server has."""
    return f"{_PREFIX}-{next(_numbers):x}"


class RequestFrame:
    """Middleware around all others: ids, log lines, and 500 without a trace for the client.

    Parameters
    ----------
    app : ASGI application
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = next_request_id()
        began = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                _log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # the answer had begun: cut it off
                detail = f"unexpected error; the server's log has it under request {request_id}"
                await http_problem(500, detail, scope["path"])(scope, receive, send_with_id)
            milliseconds = round(1000 * (time.perf_counter() - began), 1)
            write = _log.warning if status >= 500 else _log.info
            write(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=milliseconds,
            )
