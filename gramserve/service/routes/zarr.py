"""The stored objects of a Gram matrix, so that Zarr opens it over HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from gramserve.service.bodies import OCTETS
from gramserve.service.errors import Refusal, documented
from gramserve.service.routes.grams import Gram
from gramserve.service.state import State
from gramserve.store import GramStore

router = APIRouter(prefix="/v1/grams", tags=["Gram matrices"])

_PIECE_BYTES = 4 * 2**20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the bytes that a ``Range`` header asks for.

    Parameters
    ----------
    header : str or None
        One range; several, other units and nonsense are ignored, as RFC 9110 allows.
    size : int
        Bytes of the object.

    Returns
    -------
    (int, int) or None
        Half-open; None for the whole object.

    Raises
    ------
    Refusal
        416 when the object has none of these bytes.

    Examples
    --------
    >>> wanted_range("bytes=2-5", 10), wanted_range("bytes=-3", 10), wanted_range(None, 10)
    ((2, 6), (7, 10), None)
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        stop = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= stop:
        detail = f"the object has {size} bytes; {header!r} asks for none of them"
        raise Refusal(416, detail, {"Content-Range": f"bytes */{size}"})
    return start, stop


@dataclass(frozen=True)
class _StoredPart:
    """What a request wants of a stored object."""

    store: GramStore
    key: str
    start: int
    stop: int
    status: int
    headers: dict[str, str]
    kind: str


async def _stored_part(gram: Gram, state: State, key: str, request: Request) -> _StoredPart:
    state.usage.note(gram.record.id, 0)
    size = await asyncio.to_thread(gram.store.object_size, key)
    part = wanted_range(request.headers.get("range"), size)
    start, stop = part or (0, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if part is None else 206
    kind = "application/json" if key.endswith(".json") else OCTETS
    return _StoredPart(gram.store, key, start, stop, status, headers, kind)


StoredPart = Annotated[_StoredPart, Depends(_stored_part)]


@router.get(
    "/{gram_id}/zarr/{key:path}",
    operation_id="read_zarr_key",
    summary="Read a stored object",
    responses={206: {"description": "The range asked for"}, **documented(404, 409, 416)},
)
async def read_zarr_key(part: StoredPart) -> Response:
    """Return the bytes of a Zarr v3 key, whole or one range.

    A block that is planned but not computed yet is 409, not 404: to Zarr, 404 would mean NaN.
    """
    described: dict[str, Any] = {
        "status_code": part.status,
        "headers": part.headers,
        "media_type": part.kind,
    }
    if part.stop - part.start <= _PIECE_BYTES:
        content = await asyncio.to_thread(part.store.object_bytes, part.key, part.start, part.stop)
        return Response(content, **described)
    return StreamingResponse(_pieces(part), **described)


@router.head(
    "/{gram_id}/zarr/{key:path}",
    operation_id="probe_zarr_key",
    summary="Ask for the size of a stored object",
    responses=documented(404, 409, 416),
)
async def probe_zarr_key(part: StoredPart) -> Response:
    """Return the headers of a stored object, without its bytes."""
    return Response(status_code=part.status, headers=part.headers, media_type=part.kind)


async def _pieces(part: _StoredPart) -> AsyncIterator[bytes]:
    for begin in range(part.start, part.stop, _PIECE_BYTES):
        end = min(begin + _PIECE_BYTES, part.stop)
        yield await asyncio.to_thread(part.store.object_bytes, part.key, begin, end)
