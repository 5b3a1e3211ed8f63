"""Kernels and plans: what a request means before anything runs."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gramserve.errors import EngineUnavailableError, SpecError
from gramserve.kernels import choose_engine
from gramserve.service.auth import Reader
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.state import State
from gramserve.spec import JobRequest, KernelSpec, infer_shapes, parse_job, parse_kernel
from gramserve.spec.faults import spec_error
from gramserve.spec.status import KernelReport, PlannedLayer, PlanReport

router = APIRouter(prefix="/v1", tags=["plans"])


class DescribeRequest(BaseModel):
    """The body of ``POST /v1/kernels:describe``."""

    model_config = ConfigDict(extra="forbid")

    kernel: str | dict[str, Any]
    """A preset's name, a preset with options, or a full kernel spec."""
    item_shape: list[Annotated[int, Field(ge=1)]] | None = None
    """Shape of one item, to learn the positions after every layer."""


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI entry of a body that the route itself validates.

    Parameters
    ----------
    model : type of BaseModel
        What the body is.

    Returns
    -------
    dict
        For ``openapi_extra=`` of a route.
    """
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def parsed_job(body: dict[str, Any]) -> tuple[JobRequest, KernelSpec]:
    """Validate a job's body beside the event loop: a spec may have thousands of layers.

    Parameters
    ----------
    body : dict
        The JSON object.

    Returns
    -------
    JobRequest
        The validated body.
    KernelSpec
        Its kernel, presets expanded.

    Raises
    ------
    SpecError
        With every fault.
    """
    return await asyncio.to_thread(parse_job, body)


@router.post(
    "/kernels:describe",
    operation_id="describe_kernel",
    summary="Check and expand a kernel",
    response_model=KernelReport,
    responses=documented(400, 413, 415),
    openapi_extra=body_schema(DescribeRequest),
)
async def describe_kernel(_: Reader, state: State, body: JsonBody) -> KernelReport:
    """Return the canonical spec, its digest and engine, and the layers' shapes."""
    try:
        request = DescribeRequest.model_validate(body)
    except ValidationError as error:
        raise spec_error(error, DescribeRequest, "request") from error
    try:
        spec = parse_kernel(request.kernel)
    except SpecError as error:
        faults = [
            {**fault, "loc": f"kernel.{fault['loc']}".removesuffix(".")} for fault in error.errors
        ]
        raise type(error)(str(error), errors=faults) from error
    layers = None
    if request.item_shape is not None:
        shapes = await asyncio.to_thread(infer_shapes, spec, tuple(request.item_shape))
        layers = [PlannedLayer(type=shape.type, shape=shape.positions) for shape in shapes]
    try:
        engine, why = choose_engine(spec, "float32", state.settings.engine)
        name: str | None = engine.name
    except EngineUnavailableError as error:
        name, why = None, str(error)
    return KernelReport(
        kernel=spec.canonical(),
        digest=spec.digest(),
        kernels=list(spec.outputs),
        layers=layers,
        engine=name,
        why_engine=why,
    )


@router.post(
    "/plans",
    operation_id="plan_job",
    summary="Say what a job would cost",
    response_model=PlanReport,
    responses=documented(400, 404, 413, 415),
    openapi_extra=body_schema(JobRequest),
)
async def plan_job(_: Reader, state: State, body: JsonBody) -> PlanReport:
    """Cut a job into blocks and count them, without running it."""
    request, spec = await parsed_job(body)
    planned = await state.dispatcher.planner.plan_request(request, spec)
    return PlanReport.model_validate(planned.as_report())
