"""The short way to a few rows: what people wait for thousands of times a second.

Routing, parsing and checking a request in general takes several times as long as reading a row.
What stands here answers the one request that is asked most, a small range of rows of a complete
and open Gram matrix as bytes, and leaves every other one, all refusals included, to the routes.
"""

import re

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gramserve.errors import GramserveError
from gramserve.service.open_grams import OpenGram
from gramserve.service.requests import REQUEST_ID, next_request_id
from gramserve.service.routes.rows import DIRECT_BYTES
from gramserve.service.state import ServiceState

_HEAD, _TAIL = "/v1/grams/", "/rows"
_QUERY = re.compile(rb"start=(\d{1,15})&stop=(\d{1,15})(?:&wait=0(?:\.0)?)?")
_WELCOME = {b"*/*", b"application/octet-stream"}
_BEARER = b"Bearer "
_REQUEST_ID = REQUEST_ID.lower().encode()


class RowLane:
    """Stands in front of the application.

    Parameters
    ----------
    app : FastAPI
        Answers what this does not; its state must be open.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            if path.startswith(_HEAD) and path.endswith(_TAIL) and await self._answer(scope, send):
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send) -> bool:
        """Answer the request if it is a plain one; return whether it was."""
        state: ServiceState = self._app.state.service
        gram = state.grams.peek(scope["path"][len(_HEAD) : -len(_TAIL)])
        if gram is None or not gram.is_complete:
            return False
        rows = _wanted_rows(scope["query_string"], gram)
        if rows is None:
            return False
        secret = _secret(scope["headers"])
        if secret is None:
            return False
        # Every scope includes reading, so a valid key is enough.
        if await state.catalog.authenticate(secret) is None:
            return False
        try:
            if len(rows) == 1:
                content = state.grams.whole_rows.read(gram.store, rows.start)
            else:
                content = gram.store.read(rows).tobytes()
        except (GramserveError, OSError, ValueError):
            return False  # the route finds it again and says it properly
        state.usage.note(gram.record.id, len(rows))
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % len(content)),
            (b"x-gram-shape", b"%d,%d" % (len(rows), gram.store.shape[1])),
            *gram.row_headers,
            (_REQUEST_ID, next_request_id().encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        return True


def _wanted_rows(query: bytes, gram: OpenGram) -> range | None:
    match = _QUERY.fullmatch(query)
    if match is None:
        return None
    start, stop = int(match[1]), int(match[2])
    count, width = gram.store.shape
    size = (stop - start) * width * gram.store.dtype.itemsize
    return range(start, stop) if start < stop <= count and size <= DIRECT_BYTES else None


def _secret(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the bearer key, None when a header asks for something special."""
    secret = None
    for name, value in headers:
        if name == b"authorization":
            if not value.startswith(_BEARER):
                return None
            secret = value[len(_BEARER) :].decode("latin-1")
        elif name == b"if-none-match" or (name == b"accept" and value not in _WELCOME):
            return None
    return secret
