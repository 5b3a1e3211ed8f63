"""The shared cache: what is stored, verified, pinned, evicted."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gramserve.errors import AccessError, StoreNotFoundError
from gramserve.service.auth import Admin, Reader, Submitter
from gramserve.service.bodies import JsonBody
from gramserve.service.census import pin_info
from gramserve.service.errors import documented
from gramserve.service.routes.grams import Gram
from gramserve.service.routes.kernels import body_schema
from gramserve.service.state import State
from gramserve.spec.cache_reports import (
    CacheReport,
    EvictionReport,
    PinInfo,
    VerificationReport,
)
from gramserve.spec.faults import spec_error

router = APIRouter(prefix="/v1", tags=["cache"])


class EvictionRequest(BaseModel):
    """The body of ``POST /v1/cache:gc``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_bytes: Annotated[int, Field(ge=0)] | None = None
    """What matrices may occupy at most."""
    free_bytes: Annotated[int, Field(ge=0)] | None = None
    """What must be free on the disk afterwards."""
    execute: bool = False
    """False only says what would happen."""


class VerificationRequest(BaseModel):
    """The body of ``POST /v1/cache:verify``."""

    model_config = ConfigDict(extra="forbid")

    gram: str | None = None
    """Only this matrix; all when null."""
    drop: bool = True
    """Whether damaged blocks are removed, so that they are computed again."""
    max_age_s: Annotated[float, Field(ge=0)] | None = None
    """Leave out matrices that were verified within so many seconds."""


class PinRequest(BaseModel):
    """The body of ``PUT /v1/grams/{id}/pin``."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=500)] | None = None
    """For people."""


def _parsed[Request: BaseModel](model: type[Request], body: object) -> Request:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise spec_error(error, model, "request") from error


@router.get(
    "/cache",
    operation_id="show_cache",
    summary="Say what is stored",
    response_model=CacheReport,
    responses=documented(),
)
async def show_cache(_: Reader, state: State) -> CacheReport:
    """Return sizes by matrix, kernel and user, the hit rate, and what is in use."""
    return (await state.evictor.census()).as_report()


@router.post(
    "/cache:gc",
    operation_id="evict_grams",
    summary="Make room",
    response_model=EvictionReport,
    responses=documented(400, 413, 415),
    openapi_extra=body_schema(EvictionRequest),
)
async def evict_grams(_: Admin, state: State, body: JsonBody) -> EvictionReport:
    """Evict the matrices used least recently, or say which would be."""
    request = _parsed(EvictionRequest, body)
    return await state.evictor.evict(
        max_bytes=request.max_bytes, free_bytes=request.free_bytes, execute=request.execute
    )


@router.post(
    "/cache:verify",
    operation_id="verify_cache",
    summary="Check stored bytes",
    status_code=202,
    response_model=VerificationReport,
    responses=documented(400, 404, 409, 413, 415),
    openapi_extra=body_schema(VerificationRequest),
)
async def verify_cache(
    _: Admin, state: State, body: JsonBody, response: Response
) -> VerificationReport:
    """Begin to check every checksum, of one matrix or of all."""
    request = _parsed(VerificationRequest, body)
    if request.gram is not None:
        await state.grams.get(request.gram)
    response.headers["Location"] = "/v1/cache/verification"
    return state.verifier.start(gram=request.gram, drop=request.drop, max_age_s=request.max_age_s)


@router.get(
    "/cache/verification",
    operation_id="get_verification",
    summary="Say how far the verification is",
    response_model=VerificationReport,
    responses=documented(404),
)
async def get_verification(_: Reader, state: State) -> VerificationReport:
    """Return the present or the last verification."""
    report = state.verifier.chore.report
    if report is None:
        raise StoreNotFoundError("nothing was verified since the server started")
    return report


@router.delete(
    "/cache/verification",
    operation_id="stop_verification",
    summary="Stop the verification",
    response_model=VerificationReport,
    responses=documented(404),
)
async def stop_verification(_: Admin, state: State) -> VerificationReport:
    """End it; matrices that were done need not be checked again."""
    await state.verifier.chore.stop()
    return await get_verification(_, state)


@router.put(
    "/grams/{gram_id}/pin",
    operation_id="pin_gram",
    summary="Keep a Gram matrix",
    responses=documented(400, 404, 413, 415),
    openapi_extra=body_schema(PinRequest),
)
async def pin_gram(
    key: Submitter, gram: Gram, state: State, body: JsonBody
) -> dict[str, list[PinInfo]]:
    """Keep a matrix from being evicted, in the name of the key."""
    request = _parsed(PinRequest, body)
    await state.catalog.pin_gram(gram.record.id, key.id, request.reason)
    return await _pins(state, gram.record.id)


@router.delete(
    "/grams/{gram_id}/pin",
    operation_id="unpin_gram",
    summary="Let a Gram matrix go",
    responses=documented(404),
)
async def unpin_gram(
    key: Submitter,
    gram: Gram,
    state: State,
    everybody: Annotated[
        bool, Query(description="Take back all pins, not only one's own; for administrators.")
    ] = False,
) -> dict[str, list[PinInfo]]:
    """Take a pin back; none there is no error."""
    if everybody and not key.allows("admin"):
        msg = "only a key of scope 'admin' may take back the pins of others"
        raise AccessError(msg, status=403, scope="admin")
    await state.catalog.unpin_gram(gram.record.id, None if everybody else key.id)
    return await _pins(state, gram.record.id)


async def _pins(state: State, gram: str) -> dict[str, list[PinInfo]]:
    return {"pins": [pin_info(pin) for pin in await state.catalog.pins(gram)]}
