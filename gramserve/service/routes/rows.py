"""Rows of a Gram matrix: what people wait for."""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gramserve.errors import BlockMissingError, CorruptBlockError, QuotaError, RowRangeError
from gramserve.rows import RowSelection, select
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.formats import (
    JSON,
    array_response,
    array_stream,
    choose_format,
    refuse_large_json,
)
from gramserve.service.open_grams import OpenGram
from gramserve.service.routes.grams import Gram
from gramserve.service.routes.kernels import body_schema
from gramserve.service.state import ServiceState, State
from gramserve.spec.faults import spec_error

router = APIRouter(prefix="/v1/grams", tags=["Gram matrices"])

DIRECT_BYTES = 2**18
"""Reads up to this size are done where they are asked for: a thread would take longer."""

WHOLE_BYTES = 2**21
"""Answers up to this size go out in one piece."""

MAX_WAIT_S = 3600.0
"""Longest time that a request may wait for blocks, in seconds."""

_LOOK_S = 1.0

Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for missing blocks.")
]
Accept = Annotated[str | None, Header(include_in_schema=False)]


class RowsRequest(BaseModel):
    """The body of ``POST /v1/grams/{id}/rows``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rows: list[int]
    """Which rows, in any order, repeats allowed."""
    columns: list[int] | None = None
    """Which columns; all when null."""
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_S)] = 0.0
    """Seconds to wait for blocks that are not computed yet."""


@router.get(
    "/{gram_id}/rows",
    operation_id="read_rows",
    summary="Read a range of rows",
    responses={304: {"description": "Not modified"}, **documented(404, 406, 409, 413)},
)
async def read_rows(  # noqa: PLR0917 - FastAPI passes them by name
    gram: Gram,
    state: State,
    start: Annotated[int, Query(ge=0, description="First row.")] = 0,
    stop: Annotated[int | None, Query(ge=0, description="One past the last row.")] = None,
    wait: Wait = 0.0,
    accept: Accept = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return rows ``start`` to ``stop`` as bytes, ``.npy`` or JSON."""
    kind = choose_format(accept)
    end = gram.store.shape[0] if stop is None else stop
    if end < start:
        msg = f"rows {start} to {end}: stop is before start"
        raise RowRangeError(msg, errors=[{"loc": "query.stop", "message": msg}])
    selection = select(gram.store, slice(start, end))
    is_complete = await state.grams.is_complete(gram)
    headers = {"ETag": gram.etag} if is_complete else {}
    if is_complete and _matches(if_none_match, gram.etag):
        return Response(status_code=304, headers={**headers, "Vary": "Accept"})
    return await respond_with_rows(state, gram, selection, kind, wait_s=wait, headers=headers)


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    opaque = etag.removeprefix("W/")
    return any(
        tag.strip() == "*" or tag.strip().removeprefix("W/") == opaque for tag in header.split(",")
    )


@router.post(
    "/{gram_id}/rows",
    operation_id="select_rows",
    summary="Read rows and columns by index",
    responses=documented(400, 404, 406, 409, 413, 415),
    openapi_extra=body_schema(RowsRequest),
)
async def select_rows(gram: Gram, state: State, body: JsonBody, accept: Accept = None) -> Response:
    """Return the rows and columns that the body lists, in its order."""
    kind = choose_format(accept)
    try:
        request = RowsRequest.model_validate(body)
    except ValidationError as error:
        raise spec_error(error, RowsRequest, "request") from error
    selection = await asyncio.to_thread(select, gram.store, request.rows, request.columns)
    return await respond_with_rows(state, gram, selection, kind, wait_s=request.wait)


async def respond_with_rows(
    state: ServiceState,
    gram: OpenGram,
    selection: RowSelection,
    kind: str,
    *,
    wait_s: float,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return selected rows, in one piece when they are few.

    Parameters
    ----------
    state : ServiceState
        Of the server.
    gram : OpenGram
        What is read.
    selection : RowSelection
        Which rows and columns.
    kind : str
        One of the formats of :mod:`gramserve.service.formats`.
    wait_s : float
        Seconds to wait for missing blocks.
    headers : dict, optional
        Further headers.

    Returns
    -------
    Response
        The rows.

    Raises
    ------
    BlockMissingError
        When blocks are still missing after the wait.
    QuotaError
        When there are more than the server sends at once.
    """
    limit = state.settings.max_response_bytes
    if selection.nbytes > limit:
        msg = (
            f"{selection.nbytes:,} bytes of rows are more than the {limit:,} that this server "
            "sends at once (GRAMSERVE_MAX_RESPONSE_BYTES); ask for fewer rows"
        )
        raise QuotaError(msg, status=413, limit_bytes=limit)
    if kind == JSON:
        refuse_large_json(selection.shape)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return await _read(state, gram, selection, kind, headers or {})
        except CorruptBlockError as error:
            refusal = await state.grams.drop_damaged(error)
            if not isinstance(refusal, BlockMissingError):
                raise
            if time.monotonic() >= deadline:
                raise refusal from error
        except BlockMissingError as error:
            gram.is_complete = False  # it was, until somebody removed a block
            left_s = deadline - time.monotonic()
            if left_s <= 0 or state.closing.is_set():
                raise await _with_advice(state, gram, error) from error
            blocks = [(i, j) for i, j in error.context.get("blocks", ())]
            state.dispatcher.prefer(gram.record.id, blocks)
            await state.dispatcher.wait_for_stored(min(left_s, _LOOK_S))


async def _read(
    state: ServiceState,
    gram: OpenGram,
    selection: RowSelection,
    kind: str,
    headers: dict[str, str],
) -> Response:
    if selection.nbytes <= WHOLE_BYTES:
        if selection.nbytes <= DIRECT_BYTES:
            values = selection.read()
        else:
            values = await asyncio.to_thread(selection.read)
        state.usage.note(gram.record.id, len(values))
        return array_response(values, kind, headers)
    pieces = await asyncio.to_thread(selection.pieces)
    contents = _contents(state, gram, pieces, asyncio.get_running_loop())
    return array_stream(contents, selection.shape, selection.dtype, kind, headers)


def _contents(
    state: ServiceState,
    gram: OpenGram,
    pieces: Iterator[tuple[slice, bytes]],
    loop: asyncio.AbstractEventLoop,
) -> Iterator[bytes]:
    """Go through the bytes of pieces; what is damaged in the middle cuts the answer off."""
    try:
        for run, content in pieces:
            # A matrix that is being sent, however slowly, is one that is being read.
            state.usage.note(gram.record.id, run.stop - run.start)
            yield content
    except CorruptBlockError as error:
        # Of this answer, the status has gone out. The next one says what happened.
        asyncio.run_coroutine_threadsafe(state.grams.drop_damaged(error), loop).result()
        raise


async def _with_advice(
    state: ServiceState, gram: OpenGram, error: BlockMissingError
) -> BlockMissingError:
    """Add when to ask again, and whether anybody computes the blocks."""
    jobs = await state.catalog.jobs_of(gram.record.id)
    paces = [state.dispatcher.pace(job.id) for job in jobs]
    etas = [pace.eta_s for pace in paces if pace is not None and pace.eta_s is not None]
    context: dict[str, Any] = {**error.context, "gram": gram.record.id}
    if etas:
        context["retry_after_s"] = max(1, min(60, round(min(etas))))
    return BlockMissingError(error.message, **context)
