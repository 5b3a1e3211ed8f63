"""Gram matrices: which there are, how complete they are, their diagonal."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from gramserve.errors import StoreNotFoundError
from gramserve.service.auth import Reader
from gramserve.service.bodies import OCTETS
from gramserve.service.errors import documented
from gramserve.service.formats import array_response, choose_format
from gramserve.service.open_grams import OpenGram
from gramserve.service.reports import gram_report
from gramserve.service.routes.datasets import Limit, Offset
from gramserve.service.state import ServiceState, State
from gramserve.spec.status import GramReport

router = APIRouter(prefix="/v1/grams", tags=["Gram matrices"])


async def _existing_gram(_: Reader, state: State, gram_id: str) -> OpenGram:
    return await state.grams.get(gram_id)


Gram = Annotated[OpenGram, Depends(_existing_gram)]
"""The Gram matrix that a path names; read scope is checked first."""


async def _report(state: ServiceState, gram: OpenGram) -> GramReport:
    stored = await state.grams.stored_blocks(gram)
    tally = await state.catalog.block_counts(gram.record.id)
    jobs = await state.catalog.jobs_of(gram.record.id)
    failed = 0 if gram.is_complete else tally.failed
    return gram_report(gram.record, stored=stored, failed=failed, jobs=[job.id for job in jobs])


@router.get("", operation_id="list_grams", summary="List Gram matrices", responses=documented())
async def list_grams(
    _: Reader,
    state: State,
    dataset: Annotated[str | None, Query(description="Only those of this data set.")] = None,
    limit: Limit = 1000,
    offset: Offset = 0,
) -> dict[str, list[GramReport]]:
    """Return Gram matrices, the newest first."""
    records = await state.catalog.grams(dataset=dataset, limit=limit, offset=offset)
    reports = []
    for record in records:
        # One that is being evicted, or whose directory is gone, must not hide the others.
        with contextlib.suppress(StoreNotFoundError):
            reports.append(await _report(state, await state.grams.get(record.id)))
    return {"grams": reports}


@router.get(
    "/{gram_id}",
    operation_id="get_gram",
    summary="Describe a Gram matrix",
    response_model=GramReport,
    responses=documented(404),
)
async def get_gram(state: State, gram: Gram) -> GramReport:
    """Return kernel, data sets, shape and how complete it is."""
    return await _report(state, gram)


@router.get(
    "/{gram_id}/block-map",
    operation_id="read_block_map",
    summary="Which blocks are stored, as a bitmap",
    responses=documented(404),
)
async def read_block_map(state: State, gram: Gram) -> Response:
    """Return one bit for each block, row panel by row panel, the lowest bit of a byte first."""
    stored = await state.grams.stored_map(gram)
    headers = {
        "X-Gram-Panels": f"{stored.grid.row_panels},{stored.grid.column_panels}",
        "X-Gram-Blocks": f"{len(stored)},{stored.grid.block_count}",
        "Cache-Control": "no-store",
    }
    return Response(stored.to_bytes(), media_type=OCTETS, headers=headers)


@router.get(
    "/{gram_id}/diagonal",
    operation_id="read_diagonal",
    summary="Read the diagonal",
    responses=documented(404, 406, 409),
)
async def read_diagonal(
    gram: Gram, accept: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Response:
    """Return ``K[i, i]``, in the formats of rows."""
    kind = choose_format(accept)
    values = await asyncio.to_thread(gram.store.diagonal)
    return array_response(values, kind)
