"""The events of a job as they happen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gramserve.catalog import EventRecord, JobRecord
from gramserve.service.auth import Reader
from gramserve.service.errors import documented
from gramserve.service.history import JobHistory
from gramserve.service.reports import job_report
from gramserve.service.routes.jobs import report_of
from gramserve.service.state import ServiceState, State
from gramserve.spec.status import TERMINAL_STATES

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LOOK_S = 5.0
"""Seconds between looks at what other processes wrote; keep-alive comments come by themselves."""


async def _existing_job(_: Reader, state: State, job_id: str) -> JobRecord:
    # In a dependency, because a stream that has begun can no longer answer 404.
    return await state.catalog.job(job_id)


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=documented(404),
)
async def follow_job(
    job: Annotated[JobRecord, Depends(_existing_job)],
    state: State,
    last_event_id: Annotated[
        str | None, Header(description="Number of the last event seen; later ones are sent.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send ``progress`` and ``state`` events, each with the job's body, until it has ended."""
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    history = JobHistory(job)
    last = 0
    while True:
        events = await _next_events(state, job.id, last)
        is_closing = state.closing.is_set()
        if is_closing:
            # What happened before the server was told to stop is still sent.
            events = await state.catalog.wait_for_event(job.id, last, 0)
        for event in events:
            last = event.seq
            past = history.apply(event)
            if event.seq > seen:
                yield await _message(state, event, past, is_newest=event is events[-1])
            if past.state in TERMINAL_STATES:
                return
        if is_closing:
            return


async def _message(
    state: ServiceState, event: EventRecord, past: JobRecord, *, is_newest: bool
) -> ServerSentEvent:
    if past.state in TERMINAL_STATES:
        # The last word about a job has all its details.
        body = await report_of(state, await state.catalog.job(past.id))
    else:
        body = job_report(past, pace=state.dispatcher.pace(past.id) if is_newest else None)
    return ServerSentEvent(data=body, event=event.kind, id=str(event.seq))


async def _next_events(state: ServiceState, job: str, last: int) -> list[EventRecord]:
    """Wait for events, but no longer than the server runs."""
    waiting = asyncio.create_task(state.catalog.wait_for_event(job, last, _LOOK_S))
    closing = asyncio.create_task(state.closing.wait())
    try:
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else []
    finally:
        for task in (waiting, closing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
