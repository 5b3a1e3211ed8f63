"""Bodies that come in: JSON of bounded size, arrays streamed to disk."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import Depends, Request

from gramserve.errors import QuotaError, SpecError, StorageFullError, StoreError
from gramserve.service.errors import Refusal

NPY = "application/x-npy"
"""Media type of a ``.npy`` file."""

OCTETS = "application/octet-stream"
"""Media type of bytes without a header."""

MAX_JSON_BYTES = 16 * 2**20
"""Largest JSON body taken."""

_PIECE_BYTES = 4 * 2**20
_NO_SPACE = {28, 122}  # ENOSPC, EDQUOT


def _refuse_constant(text: str) -> float:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request.

    Parameters
    ----------
    request : Request
        With its body still to come.

    Returns
    -------
    dict
        Checked for nothing but being an object.

    Raises
    ------
    Refusal
        400 when it is not JSON, or nested too deeply; 415 when it says it is something else.
    QuotaError
        When it is larger than :data:`MAX_JSON_BYTES`.
    SpecError
        When it is JSON but no object.
    """
    kind = _media_type(request)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        detail = f"the body is {kind}; send application/json"
        raise Refusal(415, detail, {"Accept": "application/json"})
    text = bytearray()
    async for piece in request.stream():
        text += piece
        if len(text) > MAX_JSON_BYTES:
            raise _too_large("JSON body", MAX_JSON_BYTES)
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise Refusal(400, "the body is nested too deeply") from error
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        msg = f"the body is a JSON {_json_name(body)}; send an object"
        raise SpecError(msg, errors=[{"loc": "body", "message": msg}])
    return body


def _json_name(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


JsonBody = Annotated[dict[str, Any], Depends(read_json)]
"""The JSON object of a request."""


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large(what: str, limit: int, setting: str = "") -> QuotaError:
    hint = f" ({setting})" if setting else ""
    msg = f"the {what} is larger than the {limit:,} bytes that this server takes{hint}"
    return QuotaError(msg, status=413, limit_bytes=limit)


@contextlib.asynccontextmanager
async def received_npy(
    request: Request, folder: Path, limit: int, setting: str
) -> AsyncIterator[Path]:
    """Write a ``.npy`` body to a file, which is removed afterwards.

    Parameters
    ----------
    request : Request
        With its body still to come.
    folder : Path
        Where the file goes.
    limit : int
        Most bytes taken.
    setting : str
        The setting that decides the limit, for the message.

    Yields
    ------
    Path
        The file, complete; not looked into.

    Raises
    ------
    Refusal
        415 when the body says it is something else.
    QuotaError
        413 as soon as it is known to be too large: from its declared length, or on arrival.
    StorageFullError
        When there is no space.
    """
    if _media_type(request) not in {"", NPY, OCTETS}:
        detail = f"the body is {_media_type(request)}; send a .npy file as {NPY}"
        raise Refusal(415, detail, {"Accept": NPY})
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large("body", limit, setting)
    path = folder / f"{uuid.uuid4().hex}.npy"
    try:
        with _reporting(path):
            file = await asyncio.to_thread(path.open, "wb")
            try:
                await _receive(request, file, limit, setting)
            finally:
                await asyncio.to_thread(file.close)
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _receive(request: Request, file: IO[bytes], limit: int, setting: str) -> None:
    pending = bytearray()
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit:
            raise _too_large("body", limit, setting)
        pending += piece
        if len(pending) >= _PIECE_BYTES:
            await asyncio.to_thread(file.write, pending)
            pending = bytearray()
    await asyncio.to_thread(file.write, pending)


@contextlib.contextmanager
def _reporting(path: Path):  # type: ignore[no-untyped-def]
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        kind = StorageFullError if error.errno in _NO_SPACE else StoreError
        msg = f"the body cannot be written to {path.parent}: {error.strerror or error}"
        raise kind(msg, path=str(path.parent)) from error
