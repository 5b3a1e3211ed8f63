"""Which error becomes which HTTP status, and how it is written down.

Every answer that is not a success is a problem document (RFC 9457). Its ``code`` is the one of
:mod:`gramserve.errors`, so that a client can raise the same class again; conditions that only
HTTP knows have codes of their own, listed in :data:`HTTP_CODES`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from gramserve.errors import (
    AccessError,
    BlockError,
    BlockMissingError,
    CatalogError,
    ConflictError,
    GramserveError,
    IllegalTransitionError,
    JobNotFoundError,
    PlanError,
    QuotaError,
    SpecError,
    StorageFullError,
    StoreError,
    StoreNotFoundError,
    WorkerLostError,
)

PROBLEM_TYPE = "application/problem+json"
"""Media type of a problem document."""

RETRY_AFTER_S = 2
"""Seconds after which a request for a missing block may be worth repeating."""

HTTP_CODES: Mapping[int, str] = {
    400: "malformed_body",
    404: "unknown_path",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    503: "unavailable",
}
"""Codes of conditions that are about HTTP alone."""

# The first class that fits decides, so the narrower ones stand above their bases.
_STATUSES: tuple[tuple[type[GramserveError], int], ...] = (
    (SpecError, 422),
    (PlanError, 422),
    (StoreNotFoundError, 404),
    (BlockMissingError, 409),
    (StorageFullError, 507),
    (StoreError, 500),
    (JobNotFoundError, 404),
    (IllegalTransitionError, 409),
    (ConflictError, 409),
    (CatalogError, 503),
    (WorkerLostError, 503),
    (BlockError, 500),
    (AccessError, 401),
    (QuotaError, 413),
)
_CHOSEN_BY_ERROR = (AccessError, QuotaError)


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    """URI reference of the kind of problem; its last part is the code."""
    title: str
    """The status in words."""
    status: int
    detail: str
    """What went wrong and what to do about it."""
    instance: str
    """Path of the request."""
    code: str
    """Stable; for programs."""
    errors: list[dict[str, Any]] = Field(default_factory=list)
    """Every fault of the request, each with its place ``loc`` and a ``message``."""
    context: dict[str, Any] = Field(default_factory=dict)
    """Plain facts for programs, for example the missing blocks."""


class Refusal(HTTPException):
    """A condition that only HTTP knows, refused with one of :data:`HTTP_CODES`."""


def status_of(error: GramserveError) -> int:
    """Return the HTTP status of an error.

    Parameters
    ----------
    error : GramserveError
        What was raised.

    Returns
    -------
    int
        500 for one that is not the caller's to mend.

    Examples
    --------
    >>> status_of(BlockMissingError("not yet")), status_of(AccessError("no", status=403))
    (409, 403)
    """
    if isinstance(error, _CHOSEN_BY_ERROR) and "status" in error.context:
        return int(error.context["status"])
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def problem_of(error: GramserveError, instance: str) -> JSONResponse:
    """Return the problem document of an error.

    Parameters
    ----------
    error : GramserveError
        What was raised.
    instance : str
        Path of the request.

    Returns
    -------
    JSONResponse
        With ``Retry-After`` where a later attempt may succeed, ``WWW-Authenticate`` on 401.
    """
    status = status_of(error)
    headers: dict[str, str] = {}
    if error.retryable:
        headers["Retry-After"] = str(error.context.get("retry_after_s", RETRY_AFTER_S))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="gramserve"'
    context = {name: fact for name, fact in error.context.items() if name != "status"}
    return _document(
        status,
        str(error),
        instance,
        code=error.code,
        errors=error.errors,
        context=context,
        headers=headers,
    )


def http_problem(
    status: int, detail: str, instance: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the problem document of a condition that only HTTP knows.

    Parameters
    ----------
    status : int
        400 or more.
    detail : str
        What went wrong and what to do about it.
    instance : str
        Path of the request.
    headers : mapping, optional
        Further headers.

    Returns
    -------
    JSONResponse
        The answer.
    """
    code = HTTP_CODES.get(status, "internal")
    return _document(status, detail, instance, code=code, headers=headers)


def fault_problem(faults: list[dict[str, Any]], instance: str) -> JSONResponse:
    """Return the problem document of parameters that FastAPI refused.

    Parameters
    ----------
    faults : list of dict
        As pydantic lists them.
    instance : str
        Path of the request.

    Returns
    -------
    JSONResponse
        Status 422, all faults.
    """
    errors = [
        {"loc": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
        for fault in faults
    ]
    detail = "; ".join(f"{error['loc']}: {error['message']}" for error in errors)
    return _document(422, detail, instance, code=SpecError.code, errors=errors)


def _document(
    status: int,
    detail: str,
    instance: str,
    *,
    code: str,
    errors: Sequence[dict[str, Any]] = (),
    context: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=f"urn:gramserve:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        errors=list(errors),
        context=dict(context or {}),
    )
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=status,
        headers=dict(headers or {}),
        media_type=PROBLEM_TYPE,
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the refusals of a route.

    Parameters
    ----------
    *statuses : int
        The statuses besides 401, 403 and 422.

    Returns
    -------
    dict
        For ``responses=`` of a route.
    """
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({401, 403, 422, *statuses})
    }
