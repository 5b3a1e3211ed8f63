"""Jobs: asked for, followed, paused, cancelled."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from gramserve.catalog import JobRecord
from gramserve.errors import SpecError
from gramserve.plan import Plan
from gramserve.service.auth import Reader, Submitter
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.planner import PlannedJob
from gramserve.service.reports import job_report
from gramserve.service.routes.datasets import Limit, Offset
from gramserve.service.routes.kernels import body_schema, parsed_job
from gramserve.service.state import ServiceState, State
from gramserve.spec import JobRequest
from gramserve.spec.names import nearest
from gramserve.spec.status import JOB_STATES, JobReport

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_QUEUED = "it waits for the dispatcher"
_MAX_FAILED = 1000

_ADOPTED_BYTES = 2**28
"""Blocks of other matrices are taken over while the asker waits, up to these many bytes."""


async def report_of(state: ServiceState, job: JobRecord) -> JobReport:
    """Return the body of a job as it is now.

    Parameters
    ----------
    state : ServiceState
        Of the server.
    job : JobRecord
        From the catalog.

    Returns
    -------
    JobReport
        With its pace when it runs here, and its failed blocks when it has some.
    """
    failed = []
    if job.blocks_failed:
        failed = await state.catalog.failed_blocks(job=job.id, limit=_MAX_FAILED)
    if reason := state.dispatcher.waiting_reason(job.id):
        # What the catalog says may be older: on a full disk it cannot write either.
        job = replace(job, waiting_reason=reason)
    return job_report(job, pace=state.dispatcher.pace(job.id), failed=failed)


def _is_soon_adopted(plan: Plan) -> bool:
    """Whether all that is missing lies in other matrices, and little enough to wait for it."""
    if not plan.blocks_adoptable or plan.blocks_to_compute:
        return False
    share = plan.blocks_adoptable / plan.grid.block_count
    return plan.cost.result_bytes * share <= _ADOPTED_BYTES


@router.post(
    "",
    operation_id="submit_job",
    summary="Ask for a Gram matrix",
    status_code=202,
    response_model=JobReport,
    responses={
        200: {"model": JobReport, "description": "Nothing is left to compute"},
        **documented(400, 404, 409, 413, 415, 507),
    },
    openapi_extra=body_schema(JobRequest),
)
async def submit_job(
    key: Submitter,
    state: State,
    body: JsonBody,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="Repeating it repeats the answer."),
    ] = None,
) -> JobReport:
    """Plan a job and queue it, or answer at once when every block is stored already."""
    request, spec = await parsed_job(body)
    planner = state.dispatcher.planner
    taken = state.evictor.taken
    planned = await planner.plan_request(request, spec)
    with state.usage.holding(planned.grams.values()):
        await planner.record(planned)
        if state.evictor.taken != taken:  # what the plan counted may have been evicted
            planned = await planner.plan_request(request, spec)
        if _is_soon_adopted(planned.plan) and await planner.adopt(planned):
            planned = await planner.plan_request(request, spec)
        job = await _create_job(state, planned, request, key_id=key.id, repeats=idempotency_key)
    state.dispatcher.wake()
    response.status_code = 200 if job.state == "succeeded" else 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await report_of(state, job)


async def _create_job(
    state: ServiceState,
    planned: PlannedJob,
    request: JobRequest,
    *,
    key_id: str,
    repeats: str | None,
) -> JobRecord:
    plan = planned.plan
    is_done = plan.blocks_stored == plan.grid.block_count
    job, _ = await state.catalog.create_job(
        spec=plan.spec.canonical(),
        grams={str(name): gram for name, gram in planned.grams.items()},
        dataset=request.dataset,
        other=request.other,
        precision=request.precision,
        block_size=plan.grid.block_size,
        priority=request.priority,
        engine=plan.engine,
        state="succeeded" if is_done else "queued",
        blocks_total=plan.grid.block_count,
        blocks_done=plan.blocks_stored,
        # What other matrices hold counts when it was taken over.
        blocks_reused=plan.blocks_stored,
        waiting_reason=None if is_done else _QUEUED,
        idempotency_key=repeats,
        key_id=key_id,
    )
    return job


@router.get("", operation_id="list_jobs", summary="List jobs", responses=documented())
async def list_jobs(
    _: Reader,
    state: State,
    states: Annotated[
        list[str] | None, Query(alias="state", description="Only jobs in these states.")
    ] = None,
    gram: Annotated[str | None, Query(description="Only jobs of this Gram matrix.")] = None,
    limit: Limit = 1000,
    offset: Offset = 0,
) -> dict[str, list[JobReport]]:
    """Return jobs, the newest first."""
    if unknown := [name for name in states or () if name not in JOB_STATES]:
        msg = f"{unknown[0]!r} is no state of a job{nearest(unknown[0], JOB_STATES)}"
        raise SpecError(msg, errors=[{"loc": "query.state", "message": msg}])
    jobs = await state.catalog.jobs(states=states, gram=gram, limit=limit, offset=offset)
    return {"jobs": [await report_of(state, job) for job in jobs]}


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Describe a job",
    response_model=JobReport,
    responses=documented(404),
)
async def get_job(_: Reader, state: State, job_id: str) -> JobReport:
    """Return its state, progress, rate and the reason why it waits."""
    return await report_of(state, await state.catalog.job(job_id))


@router.delete(
    "/{job_id}",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=JobReport,
    responses=documented(404, 409),
)
async def cancel_job(_: Submitter, state: State, job_id: str) -> JobReport:
    """Stop a job; blocks that are stored stay. Cancelling twice is no error."""
    job = await state.catalog.cancel_job(job_id)
    await state.dispatcher.recheck(job_id)
    return await report_of(state, job)


@router.post(
    "/{job_id}:pause",
    operation_id="pause_job",
    summary="Pause a job",
    response_model=JobReport,
    responses=documented(404, 409),
)
async def pause_job(_: Submitter, state: State, job_id: str) -> JobReport:
    """Let a job rest until it is resumed."""
    job = await state.catalog.pause_job(job_id)
    await state.dispatcher.recheck(job_id)
    return await report_of(state, job)


@router.post(
    "/{job_id}:resume",
    operation_id="resume_job",
    summary="Resume a job",
    response_model=JobReport,
    responses=documented(404, 409),
)
async def resume_job(_: Submitter, state: State, job_id: str) -> JobReport:
    """Put a paused job back into the queue."""
    job = await state.catalog.resume_job(job_id)
    await state.dispatcher.recheck(job_id)
    return await report_of(state, job)
