"""Whether the server lives, and what it is."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter

from gramserve.errors import StoreError
from gramserve.kernels import describe_engines
from gramserve.service.auth import Reader
from gramserve.service.errors import Refusal, documented
from gramserve.service.state import State
from gramserve.spec import FORMAT, KERNEL_CODE_VERSION

router = APIRouter(tags=["server"])


def _version() -> str:
    try:
        return version("gramserve")
    except PackageNotFoundError:
        return "unknown"


@router.get("/livez", operation_id="live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """Answer without looking at anything; needs no key."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Whether requests can be served",
    responses={503: documented(503)[503]},
)
async def ready(state: State) -> dict[str, Any]:
    """Ask the database, the state directory and the dispatcher; needs no key."""
    if state.closing.is_set():
        raise Refusal(503, "the server is stopping")
    if not state.dispatcher.is_alive:
        raise Refusal(503, "the dispatcher has ended; restart the server")
    await state.catalog.ping()
    try:
        await asyncio.to_thread(state.layout.ensure)
    except StoreError as error:
        raise Refusal(503, str(error)) from error
    return {"status": "ready", "running_jobs": state.dispatcher.running, **_identity()}


@router.get(
    "/v1/version",
    operation_id="version",
    summary="What server this is",
    responses=documented(),
)
async def show_version(_: Reader) -> dict[str, Any]:
    """Return the versions of the package, of kernel specs and of the numbers."""
    return _identity()


def _identity() -> dict[str, Any]:
    return {
        "version": _version(),
        "kernel_format": FORMAT,
        "kernel_code_version": KERNEL_CODE_VERSION,
    }


@router.get(
    "/v1/engines",
    operation_id="list_engines",
    summary="What this machine can run",
    responses=documented(),
)
async def list_engines(_: Reader) -> dict[str, Any]:
    """Return name, availability and device of every engine."""
    return {"engines": await asyncio.to_thread(describe_engines)}
