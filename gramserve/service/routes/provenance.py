"""How a Gram matrix came about, and whether it is right: blocks, report, audit."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gramserve.catalog import BlockRecord
from gramserve.errors import StoreNotFoundError
from gramserve.service.auth import Submitter
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.report_card import make_report_card
from gramserve.service.routes.datasets import Limit, Offset
from gramserve.service.routes.grams import Gram
from gramserve.service.routes.kernels import body_schema
from gramserve.service.state import State
from gramserve.spec.cache_reports import AuditReport, BlockProvenance, ReportCard
from gramserve.spec.faults import spec_error

router = APIRouter(prefix="/v1/grams", tags=["Gram matrices"])


class AuditRequest(BaseModel):
    """The body of ``POST /v1/grams/{id}:audit``."""

    model_config = ConfigDict(extra="forbid")

    every: Annotated[int, Field(ge=1)] = 100
    """Every how many blocks one is computed again."""


@router.get(
    "/{gram_id}/blocks",
    operation_id="list_blocks",
    summary="Say how blocks came about",
    responses=documented(404),
)
async def list_blocks(
    gram: Gram,
    state: State,
    failed: Annotated[bool, Query(description="Only blocks that were set aside.")] = False,
    limit: Limit = 1000,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return blocks in the order of their places, with everything recorded of them."""
    tally = await state.catalog.block_counts(gram.record.id)
    records = await state.catalog.blocks(
        gram.record.id, state="failed" if failed else None, limit=limit, offset=offset
    )
    return {
        "total": tally.failed if failed else tally.stored + tally.failed,
        "blocks": [_provenance(gram.record.precision, record) for record in records],
    }


def _provenance(precision: str, record: BlockRecord) -> BlockProvenance:
    return BlockProvenance.model_validate(
        {
            "block": (record.i, record.j),
            "state": record.state,
            "address": record.address,
            "engine": record.engine,
            "device": record.device,
            "precision": precision,
            "code_version": record.code_version,
            "seconds": record.seconds,
            "worker": record.worker,
            "checksum": record.checksum,
            "finished": record.finished,
            "adopted_from": record.adopted_from,
            "error": record.error,
        }
    )


@router.get(
    "/{gram_id}/report",
    operation_id="report_gram",
    summary="Report on a Gram matrix",
    response_model=ReportCard,
    responses=documented(404, 409),
)
async def report_gram(gram: Gram, state: State) -> ReportCard:
    """Return what its numbers say, who made them, and how to make them again.

    A worker reads the whole matrix, a large one many times over.
    """
    return await make_report_card(state, gram)


@router.post(
    "/{gram_id}:audit",
    operation_id="audit_gram",
    summary="Compute some blocks again",
    status_code=202,
    response_model=AuditReport,
    responses=documented(400, 404, 409, 413, 415),
    openapi_extra=body_schema(AuditRequest),
)
async def audit_gram(
    _: Submitter, gram: Gram, state: State, body: JsonBody, response: Response
) -> AuditReport:
    """Begin to compute every k-th stored block in float64 and to compare."""
    try:
        request = AuditRequest.model_validate(body)
    except ValidationError as error:
        raise spec_error(error, AuditRequest, "request") from error
    record = await state.catalog.gram(gram.record.id)
    response.headers["Location"] = f"/v1/grams/{record.id}/audit"
    return await state.auditor.start(record, request.every)


@router.get(
    "/{gram_id}/audit",
    operation_id="get_audit",
    summary="Say how far the audit is",
    response_model=AuditReport,
    responses=documented(404),
)
async def get_audit(gram: Gram, state: State) -> AuditReport:
    """Return the present or the last audit of a matrix."""
    report = state.auditor.report(await state.catalog.gram(gram.record.id))
    if report is None:
        msg = f"Gram matrix {gram.record.id} was never audited"
        raise StoreNotFoundError(msg, gram=gram.record.id)
    return report
