"""Rows of new items: computed on request, stored nowhere."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from numpy.typing import NDArray

from gramserve.blocks import Recipe, evaluate_rows, place_items
from gramserve.errors import QuotaError, ShapeError
from gramserve.kernels import choose_engine
from gramserve.plan import choose_block_size
from gramserve.preprocessing import ItemSource
from gramserve.rows import encode
from gramserve.service.auth import Submitter
from gramserve.service.background import run_in_daemon
from gramserve.service.bodies import received_npy
from gramserve.service.derivatives import respond_with_derivative
from gramserve.service.errors import documented
from gramserve.service.formats import (
    JSON,
    array_response,
    array_stream,
    choose_format,
    refuse_large_json,
)
from gramserve.service.open_grams import OpenGram
from gramserve.service.routes.datasets import NPY_BODY
from gramserve.service.routes.grams import Gram
from gramserve.service.routes.rows import WHOLE_BYTES
from gramserve.service.state import ServiceState, State
from gramserve.spec import DERIVATIVES, Precision, parse_derivative, parse_kernel
from gramserve.store import open_npy

router = APIRouter(prefix="/v1/grams", tags=["Gram matrices"])

_SETTING = "GRAMSERVE_MAX_EVALUATE_BYTES"

_DERIVATIVE = f"A derivative in place of the kernel: {', '.join(DERIVATIVES)}; x is the new item."


@router.post(
    "/{gram_id}/rows:evaluate",
    operation_id="evaluate_rows",
    summary="Compute rows of new items",
    responses=documented(404, 406, 413, 415, 422, 503, 507),
    openapi_extra=NPY_BODY,
)
async def evaluate(
    _: Submitter,
    gram: Gram,
    state: State,
    request: Request,
    *,
    derivative: Annotated[str | None, Query(description=_DERIVATIVE)] = None,
    preprocess: Annotated[
        bool, Query(description="Do to the items first what made the data set of the columns.")
    ] = False,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Return kernel values, or a derivative, of the items of a ``.npy`` body.

    Against the data set's columns; derivatives are there for kernels of vectors.
    """
    kind = choose_format(accept)
    wanted = None if derivative is None else parse_derivative(derivative)
    limit = state.settings.max_evaluate_bytes
    async with received_npy(request, state.layout.uploads, limit, _SETTING) as path:
        items: ItemSource = open_npy(path)
        await _check_items(state, gram, items)
        if wanted is None:
            _check_size(state, gram, items, kind)
        if preprocess:
            columns = gram.record.other or gram.record.dataset
            items = await state.preprocessor.prepared(items, columns)
        if wanted is not None:
            vectors = items[: items.shape[0]]
            return await respond_with_derivative(
                state, gram, vectors, wanted, kind, setting=_SETTING
            )
        shape = (items.shape[0], gram.store.shape[1])
        pieces = _compute(state, gram, items)
        if int(np.prod(shape)) * gram.store.dtype.itemsize <= WHOLE_BYTES:
            values = await run_in_daemon(lambda: np.concatenate(list(pieces)), "evaluate")
            return array_response(values, kind)
        # The first piece is waited for, so that what can go wrong is still said in a problem.
        first = await run_in_daemon(lambda: next(pieces), "evaluate")
    return array_stream(_encoded(first, pieces), shape, gram.store.dtype, kind)


async def _check_items(state: ServiceState, gram: OpenGram, items: ItemSource) -> None:
    record = gram.record
    wanted = (await state.catalog.dataset(record.other or record.dataset)).shape[1:]
    if items.shape[1:] != wanted:
        msg = (
            f"new items have shape {items.shape[1:]}, those of the data set {wanted}; a kernel "
            "compares items of one shape"
        )
        if (*items.shape[1:], 1) == wanted:
            msg += "; send x[..., None]"
        raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])


def _check_size(state: ServiceState, gram: OpenGram, items: ItemSource, kind: str) -> None:
    shape = (items.shape[0], gram.store.shape[1])
    if kind == JSON:
        refuse_large_json(shape)
    size, limit = shape[0] * shape[1] * gram.store.dtype.itemsize, state.settings.max_evaluate_bytes
    if size > limit:
        msg = (
            f"the answer would have {size:,} bytes, this server computes {limit:,} at once "
            f"({_SETTING}); send at most {max(1, limit * shape[0] // size)} items"
        )
        raise QuotaError(msg, status=413, limit_bytes=limit)


def _compute(state: ServiceState, gram: OpenGram, items: ItemSource) -> Iterator[NDArray[Any]]:
    """Yield rows; the scratch directory lives as long as the iterator."""
    record = gram.record
    spec = parse_kernel(record.spec)
    precision: Precision = record.precision  # type: ignore[assignment]
    engine = choose_engine(spec, precision, state.settings.engine)[0].name
    scratch: Path = state.layout.uploads / f"evaluate-{uuid.uuid4().hex}"
    scratch.mkdir()
    try:
        yield from evaluate_rows(
            state.executor,
            Recipe(
                spec,
                precision,
                engine,
                state.settings.memory_per_task_bytes // 2,
                state.settings.engine_threads,
            ),
            scratch=scratch,
            items=items,
            columns=place_items(
                state.layout.root, record.other or record.dataset, spec, precision, engine
            ),
            column_count=record.columns,
            panel=max(record.block_size, choose_block_size(spec, items.shape[1:], engine)),
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _encoded(first: NDArray[Any], rest: Iterator[NDArray[Any]]) -> Iterator[bytes]:
    yield encode(first)
    for values in rest:
        yield encode(values)
