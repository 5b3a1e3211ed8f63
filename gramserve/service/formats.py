"""How arrays go out: bytes, ``.npy`` or JSON, whole or in pieces."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import JSONResponse, Response, StreamingResponse

from gramserve.errors import QuotaError
from gramserve.rows import encode, npy_header
from gramserve.service.bodies import NPY, OCTETS
from gramserve.service.errors import Refusal

JSON = "application/json"
"""Media type of JSON."""

FORMATS: tuple[str, ...] = (OCTETS, NPY, JSON)
"""Media types of an array; the first is what is sent when anything is welcome."""

MAX_JSON_ENTRIES = 100_000
"""Entries of the largest array that is written as JSON."""


def choose_format(accept: str | None) -> str:
    """Return the media type that an ``Accept`` header likes best.

    Parameters
    ----------
    accept : str or None
        The header; anything is welcome without it.

    Returns
    -------
    str
        One of :data:`FORMATS`.

    Raises
    ------
    Refusal
        406 when it takes none of them.

    Examples
    --------
    >>> choose_format("application/x-npy, */*;q=0.1"), choose_format(None)
    ('application/x-npy', 'application/octet-stream')
    """
    if not accept or accept.strip() == "*/*":
        return FORMATS[0]
    wanted = [_parse_range(part) for part in accept.split(",") if part.strip()]
    best = max(FORMATS, key=lambda kind: _quality(kind, wanted))
    if _quality(best, wanted) == 0:
        msg = f"arrays are sent as {', '.join(FORMATS)}; none of them is among {accept!r}"
        raise Refusal(406, msg)
    return best


def _parse_range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    return kind, quality


def _quality(kind: str, wanted: list[tuple[str, float]]) -> float:
    """Return how welcome a media type is; the most specific range that fits decides."""
    family = f"{kind.partition('/')[0]}/*"
    for spelling in (kind, family, "*/*"):
        found = [quality for name, quality in wanted if name == spelling]
        if found:
            return max(found)
    return 0.0


def array_headers(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, str]:
    """Return the headers that describe an array.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    dtype : dtype
        Of the array; announced as little-endian.

    Returns
    -------
    dict
        ``X-Gram-Shape`` as ``"10,5000"``, ``X-Gram-Dtype`` as ``"<f4"``.
    """
    return {
        "X-Gram-Shape": ",".join(str(length) for length in shape),
        "X-Gram-Dtype": np.dtype(dtype).newbyteorder("<").str,
        "Vary": "Accept",
    }


def refuse_large_json(shape: tuple[int, ...]) -> None:
    """Refuse an array that would be too slow to write and read as JSON.

    Parameters
    ----------
    shape : tuple of int
        Of the array.

    Raises
    ------
    QuotaError
        Above :data:`MAX_JSON_ENTRIES`; names the remedy.
    """
    entries = int(np.prod(shape, dtype=object))
    if entries > MAX_JSON_ENTRIES:
        msg = (
            f"{entries:,} entries are too many for JSON, which takes {MAX_JSON_ENTRIES:,}; ask "
            f"for fewer rows or columns, or for Accept: {OCTETS}"
        )
        raise QuotaError(msg, status=413, entries=entries, limit_entries=MAX_JSON_ENTRIES)


def array_response(
    values: NDArray[Any], kind: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an array in one piece.

    Parameters
    ----------
    values : ndarray
        In memory.
    kind : str
        One of :data:`FORMATS`.
    headers : mapping, optional
        Further headers.

    Returns
    -------
    Response
        With the headers of :func:`array_headers`.
    """
    described = {**array_headers(values.shape, values.dtype), **(headers or {})}
    if kind == JSON:
        refuse_large_json(values.shape)
        body = {
            "shape": list(values.shape),
            "dtype": values.dtype.name,
            "values": values.tolist(),
        }
        return JSONResponse(body, headers=described)
    content = encode(values)
    if kind == NPY:
        content = npy_header(values.shape, values.dtype) + content
    return Response(content, media_type=kind, headers=described)


def array_stream(
    pieces: Iterator[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    kind: str,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Return an array piece by piece, with its length known from the start.

    Parameters
    ----------
    pieces : iterator of bytes
        Little-endian in C order; each is made in a thread.
    shape : tuple of int
        Of the whole array.
    dtype : dtype
        Of the array.
    kind : str
        Octets or ``.npy``.
    headers : mapping, optional
        Further headers.

    Returns
    -------
    StreamingResponse
        Cut off, so that nobody takes it for whole, when a piece fails.
    """
    lead = npy_header(shape, dtype) if kind == NPY else b""
    length = len(lead) + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    described = {
        **array_headers(shape, dtype),
        **(headers or {}),
        "Content-Length": str(length),
    }

    async def body() -> AsyncIterator[bytes]:
        if lead:
            yield lead
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    return StreamingResponse(body(), media_type=kind, headers=described)
