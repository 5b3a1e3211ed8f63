"""API keys: made, listed, ended; for administrators."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gramserve.errors import StoreNotFoundError
from gramserve.service.auth import Admin
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.reports import key_report
from gramserve.service.routes.kernels import body_schema
from gramserve.service.state import State
from gramserve.spec.faults import spec_error

router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyRequest(BaseModel):
    """The body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Whose it is, for people."""
    scopes: list[str] = Field(default=["submit"])
    """``read``, ``submit`` or ``admin``; each includes the ones before it."""
    days: Annotated[float, Field(gt=0, le=36500)] | None = None
    """Days until it ends; never when not given."""


@router.post(
    "",
    operation_id="create_key",
    summary="Make a key",
    status_code=201,
    responses=documented(400, 413, 415),
    openapi_extra=body_schema(KeyRequest),
)
async def create_key(_: Admin, state: State, body: JsonBody) -> dict[str, Any]:
    """Return a new key with its secret, which is shown only now."""
    try:
        request = KeyRequest.model_validate(body)
    except ValidationError as error:
        raise spec_error(error, KeyRequest, "key") from error
    expires = None if request.days is None else datetime.now(UTC) + timedelta(days=request.days)
    record, secret = await state.catalog.create_key(request.name, request.scopes, expires)
    return {**key_report(record), "secret": secret}


@router.get("", operation_id="list_keys", summary="List keys", responses=documented())
async def list_keys(_: Admin, state: State) -> dict[str, Any]:
    """Return all keys, also those that are over or revoked, without their secrets."""
    return {"keys": [key_report(record) for record in await state.catalog.keys()]}


@router.delete(
    "/{key_id}", operation_id="revoke_key", summary="End a key", responses=documented(404)
)
async def revoke_key(_: Admin, state: State, key_id: str) -> dict[str, Any]:
    """End a key now and for good; ending it twice is no error."""
    if key_id not in {record.id for record in await state.catalog.keys()}:
        msg = f"no API key {key_id!r}; list the keys there are"
        raise StoreNotFoundError(msg, key=key_id)
    return key_report(await state.catalog.revoke_key(key_id))
