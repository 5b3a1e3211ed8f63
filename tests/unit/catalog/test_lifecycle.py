"""Jobs moving from state to state."""

import asyncio

import pytest
from catalog_seeds import add_gram, add_job, claim, open_dispatcher, run_job

from gramserve.catalog import Catalog
from gramserve.errors import IllegalTransitionError, JobNotFoundError


@pytest.fixture
async def job(catalog):
    await add_gram(catalog)
    return await add_job(catalog)


async def test_a_job_succeeds_and_tells_when(catalog, job):
    running = await run_job(catalog, job)
    done = await catalog.transition(job.id, "succeeded", epoch=running.epoch)
    assert done.created <= running.started <= done.finished
    assert (done.started, done.dispatcher) == (running.started, None)
    assert running.dispatcher is not None


async def test_a_job_fails_with_its_error(catalog, job):
    running = await run_job(catalog, job)
    error = {"code": "block", "message": "2 blocks failed"}
    failed = await catalog.transition(job.id, "failed", epoch=running.epoch, error=error)
    assert failed.error == error
    assert (await catalog.events_after(job.id))[-1].data["error"] == error


async def test_every_transition_is_one_event(catalog, job):
    running = await run_job(catalog, job)
    await catalog.transition(job.id, "paused", epoch=running.epoch, waiting_reason="lunch")
    events = await catalog.events_after(job.id)
    assert [event.data["state"] for event in events] == ["queued", "planning", "running", "paused"]
    assert [event.data["from"] for event in events] == [None, "queued", "planning", "running"]
    assert [event.data["epoch"] for event in events] == [0, 1, 1, 1]
    assert events[-1].data["waiting_reason"] == "lunch"


async def test_a_refused_transition_writes_nothing(catalog, job):
    before = await catalog.events_after(job.id)
    with pytest.raises(IllegalTransitionError, match="is queued and cannot become succeeded"):
        await catalog.transition(job.id, "succeeded", epoch=0)
    assert await catalog.events_after(job.id) == before
    assert await catalog.job(job.id) == job


async def test_a_stale_epoch_is_refused_and_both_states_named(catalog, job):
    stale = await run_job(catalog, job)
    await catalog.requeue_interrupted()
    fresh = await run_job(catalog, job)
    assert fresh.epoch == stale.epoch + 2
    with pytest.raises(
        IllegalTransitionError,
        match="cannot become succeeded under epoch 1: it is running and its epoch is 3",
    ):
        await catalog.transition(job.id, "succeeded", epoch=stale.epoch)
    assert not await catalog.beat(stale.dispatcher)
    assert not await catalog.record_progress(
        job.id, stale.epoch, done=1, reused=0, failed=0, total=6
    )
    assert await catalog.job(job.id) == fresh


async def test_only_a_claim_begins_planning(catalog, job):
    with pytest.raises(IllegalTransitionError, match="becomes planning only when it is claimed"):
        await catalog.transition(job.id, "planning", epoch=0)
    assert await catalog.job(job.id) == job


async def test_of_many_who_race_one_wins(catalog, job):
    running = await run_job(catalog, job)
    ends = ["succeeded", "failed", "paused", "cancelling"] * 3
    results = await asyncio.gather(
        *(catalog.transition(job.id, end, epoch=running.epoch) for end in ends),
        return_exceptions=True,
    )
    states = [event.data["state"] for event in await catalog.events_after(job.id)]
    assert states[:3] == ["queued", "planning", "running"]
    winners = [result for result in results if not isinstance(result, IllegalTransitionError)]
    assert [winner.state for winner in winners] == states[3:]
    assert len(winners) == 1


async def test_unknown_jobs_are_not_found(catalog):
    for change in (
        catalog.transition("nope", "paused", epoch=None),
        catalog.cancel_job("nope"),
        catalog.pause_job("nope"),
        catalog.resume_job("nope"),
        catalog.explain_wait("nope", "x"),
        catalog.record_progress("nope", 1, done=0, reused=0, failed=0, total=0),
    ):
        with pytest.raises(JobNotFoundError, match="no job nope"):
            await change


async def test_cancelling_a_job_nobody_holds_is_immediate(catalog, job):
    assert (await catalog.cancel_job(job.id)).state == "cancelled"
    assert (await catalog.cancel_job(job.id)).state == "cancelled"
    assert len(await catalog.events_after(job.id)) == 2


async def test_cancelling_a_running_job_waits_for_its_holder(catalog, job):
    running = await run_job(catalog, job)
    assert (await catalog.cancel_job(job.id)).state == "cancelling"
    assert (await catalog.cancel_job(job.id)).dispatcher == running.dispatcher
    with pytest.raises(IllegalTransitionError):
        await catalog.transition(job.id, "succeeded", epoch=running.epoch)
    done = await catalog.transition(job.id, "cancelled", epoch=running.epoch)
    assert done.finished is not None


async def test_a_finished_job_cannot_be_cancelled(catalog, job):
    running = await run_job(catalog, job)
    await catalog.transition(job.id, "succeeded", epoch=running.epoch)
    with pytest.raises(IllegalTransitionError, match="it is finished"):
        await catalog.cancel_job(job.id)


async def test_pause_and_resume_begin_a_new_epoch(catalog, job):
    running = await run_job(catalog, job)
    paused = await catalog.pause_job(job.id)
    assert "resume" in paused.waiting_reason
    assert await claim(catalog) is None
    late = {"done": 2, "reused": 0, "failed": 0, "total": 6}
    assert await catalog.record_progress(job.id, running.epoch, **late)
    resumed = await catalog.resume_job(job.id)
    assert (resumed.state, resumed.waiting_reason, resumed.blocks_done) == ("queued", None, 2)
    assert not await catalog.record_progress(job.id, running.epoch, **late)
    with pytest.raises(IllegalTransitionError):
        await catalog.transition(job.id, "failed", epoch=running.epoch)


async def test_a_running_job_cannot_be_resumed(catalog, job):
    await run_job(catalog, job)
    with pytest.raises(IllegalTransitionError, match="it is running"):
        await catalog.resume_job(job.id)


async def test_the_waiting_reason_is_written_once(catalog, job):
    assert await catalog.explain_wait(job.id, "behind job 7")
    assert not await catalog.explain_wait(job.id, "behind job 7")
    assert not await catalog.explain_wait(job.id, "other", epoch=5)
    assert (await catalog.job(job.id)).waiting_reason == "behind job 7"
    assert [e.data["waiting_reason"] for e in await catalog.events_after(job.id)] == [
        None,
        "behind job 7",
    ]
    assert await catalog.explain_wait(job.id, None)
    await catalog.cancel_job(job.id)
    assert not await catalog.explain_wait(job.id, "too late")


async def test_a_restart_takes_jobs_from_the_server_that_died(place):
    async with await Catalog.open(place) as catalog:
        await add_gram(catalog)
        planning, running, cancelling, paused, queued = [await add_job(catalog) for _ in range(5)]
        dispatcher = await open_dispatcher(catalog)
        held = [await catalog.claim_next(dispatcher=dispatcher) for _ in range(4)]
        await catalog.transition(running.id, "running", epoch=1)
        await catalog.cancel_job(cancelling.id)
        await catalog.pause_job(paused.id)
        assert [job.id for job in held] == [planning.id, running.id, cancelling.id, paused.id]

    async with await Catalog.open(place) as catalog:
        moved = await catalog.requeue_interrupted()
        assert [(job.id, job.state) for job in moved] == [
            (planning.id, "queued"),
            (running.id, "queued"),
            (cancelling.id, "cancelled"),
        ]
        assert [job.epoch for job in moved] == [2, 2, 1]
        assert all(job.dispatcher is None for job in moved)
        assert "stored" in moved[0].waiting_reason
        assert (await catalog.job(paused.id)).state == "paused"
        assert (await catalog.job(queued.id)).epoch == 0
        assert await catalog.requeue_interrupted() == []
        # The oldest goes first again.
        assert (await claim(catalog)).id == planning.id
