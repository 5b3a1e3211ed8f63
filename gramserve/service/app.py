"""The application: routes, refusals and what is open while it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from gramserve.config import Settings
from gramserve.errors import CorruptBlockError, GramserveError
from gramserve.service.auth import ensure_first_key
from gramserve.service.errors import Problem, fault_problem, http_problem, problem_of
from gramserve.service.requests import RequestFrame
from gramserve.service.routes import (
    cache,
    datasets,
    evaluate,
    events,
    grams,
    health,
    jobs,
    kernels,
    keys,
    preprocess,
    provenance,
    rows,
    zarr,
)
from gramserve.service.state import open_state

_ROUTERS = (
    health,
    datasets,
    preprocess,
    kernels,
    jobs,
    events,
    grams,
    rows,
    evaluate,
    zarr,
    provenance,
    cache,
    keys,
)
_THREADS = 16


def create_app(settings: Settings) -> FastAPI:
    """Return the application of a server.

    Parameters
    ----------
    settings : Settings
        Of the server.

    Returns
    -------
    FastAPI
        Opens catalog, stores and workers when it starts (``app.state.service``), and closes
        them when it ends. ``app.state.generated_key`` is the secret of the first admin key if
        one was made, else None.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="service")
        asyncio.get_running_loop().set_default_executor(pool)
        async with open_state(settings) as state:
            app.state.service = state
            secret = settings.api_key.get_secret_value() if settings.api_key else None
            app.state.generated_key = await ensure_first_key(state.catalog, secret)
            yield
            state.closing.set()

    app = FastAPI(
        title="gramserve",
        summary="Exact Gram matrices of convolutional neural kernels",
        version="1",
        lifespan=lifespan,
        # Both load their scripts from elsewhere; a server may have no way out.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for module in _ROUTERS:
        app.include_router(module.router)
    app.add_exception_handler(GramserveError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(RecursionError, _refuse_depth)
    app.add_middleware(RequestFrame)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, GramserveError):  # narrows the type only
        raise error
    told: GramserveError = error
    if isinstance(error, CorruptBlockError):
        told = await request.app.state.service.grams.drop_damaged(error)
    return problem_of(told, request.url.path)


async def _refuse_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, headers, detail = request.url.path, dict(error.headers or {}), str(error.detail)
    if error.status_code == 404 and error.detail == "Not Found":
        detail = f"there is no {path}; /openapi.json lists what there is"
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"{path} takes {headers['Allow']}, not {request.method}"
    return http_problem(error.status_code, detail, path, headers)


def _methods(request: Request) -> list[str]:
    """Return all methods of a path: the router names only those of the first route it finds."""
    found: set[str] = set()
    for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.add(method)
    return sorted(found)


async def _refuse_parameters(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return fault_problem(list(error.errors()), request.url.path)


async def _refuse_depth(request: Request, _: Exception) -> Response:
    return http_problem(400, "the body is nested too deeply", request.url.path)


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components["Problem"] = Problem.model_json_schema()
        app.openapi_schema = schema
    return app.openapi_schema
