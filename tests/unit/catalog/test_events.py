"""Events of jobs, and waiting for them."""

import asyncio

import pytest
from catalog_seeds import add_gram, add_job, run_job

from gramserve.catalog import Catalog, events


@pytest.fixture
async def job(catalog):
    await add_gram(catalog)
    return await run_job(catalog, await add_job(catalog))


async def tell(catalog, job, done):
    assert await catalog.record_progress(
        job.id, job.epoch, done=done, reused=0, failed=0, total=100
    )


def progress(told):
    return [event.data["done"] for event in told if event.kind == "progress"]


async def test_events_replay_from_where_a_stream_broke_off(catalog, job):
    await tell(catalog, job, 1)
    await tell(catalog, job, 2)
    everything = await catalog.events_after(job.id)
    assert [event.kind for event in everything] == ["state"] * 3 + ["progress"] * 2
    assert [event.seq for event in everything] == sorted({event.seq for event in everything})
    assert await catalog.events_after(job.id, everything[2].seq) == everything[3:]
    assert await catalog.events_after(job.id, 0, limit=2) == everything[:2]
    assert await catalog.events_after("nope") == []


async def test_events_of_other_jobs_are_not_told(catalog, job):
    other = await add_job(catalog)
    assert {event.job for event in await catalog.events_after(job.id)} == {job.id}
    assert len(await catalog.events_after(other.id)) == 1


async def test_of_a_finished_job_the_last_progress_stays(catalog, job):
    for done in range(5):
        await tell(catalog, job, done)
    await catalog.transition(job.id, "succeeded", epoch=job.epoch)
    told = await catalog.events_after(job.id)
    assert [event.kind for event in told] == ["state"] * 3 + ["progress", "state"]
    assert progress(told) == [4]


async def test_progress_of_a_long_job_is_bounded(catalog, job, monkeypatch):
    monkeypatch.setattr(events, "PROGRESS_KEPT", 10)
    for done in range(30):
        await tell(catalog, job, done)
    told = await catalog.events_after(job.id)
    assert progress(told) == list(range(19, 30))
    assert len(told) - len(progress(told)) == 3


async def test_numbers_of_pruned_events_do_not_come_back(place):
    async with await Catalog.open(place) as catalog:
        await add_gram(catalog)
        job = await run_job(catalog, await add_job(catalog))
        await tell(catalog, job, 1)
        last = (await catalog.events_after(job.id))[-1].seq
        async with catalog._database.write() as connection:
            await connection.execute(events._events.delete())
    async with await Catalog.open(place) as catalog:
        await tell(catalog, job, 2)
        assert [event.seq > last for event in await catalog.events_after(job.id)] == [True]


async def test_what_is_there_needs_no_waiting(catalog, job):
    told = await catalog.wait_for_event(job.id, 0, 60)
    assert told == await catalog.events_after(job.id)


async def test_waiters_wake_when_something_happens(catalog, job):
    last = (await catalog.events_after(job.id))[-1].seq
    waiters = [asyncio.create_task(catalog.wait_for_event(job.id, last, 60)) for _ in range(3)]
    other = await add_job(catalog)
    await catalog.cancel_job(other.id)
    assert not any(waiter.done() for waiter in waiters)
    await tell(catalog, job, 7)
    assert [progress(told) for told in await asyncio.gather(*waiters)] == [[7]] * 3
    assert catalog._bell._listeners == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda catalog, job: catalog.transition(job.id, "failed", epoch=job.epoch),
        lambda catalog, job: catalog.cancel_job(job.id),
        lambda catalog, job: catalog.pause_job(job.id),
        lambda catalog, job: catalog.explain_wait(job.id, "no workers"),
        lambda catalog, job: catalog.requeue_interrupted(),
    ],
)
async def test_every_kind_of_change_wakes(catalog, job, change):
    last = (await catalog.events_after(job.id))[-1].seq
    waiter = asyncio.create_task(catalog.wait_for_event(job.id, last, 60))
    await asyncio.sleep(0)
    await change(catalog, job)
    assert [event.kind for event in await waiter] == ["state"]


async def test_claiming_wakes(catalog, job):
    queued = await add_job(catalog)
    last = (await catalog.events_after(queued.id))[-1].seq
    waiter = asyncio.create_task(catalog.wait_for_event(queued.id, last, 60))
    await asyncio.sleep(0)
    await catalog.claim_next(dispatcher=job.dispatcher)
    assert [event.data["state"] for event in await waiter] == ["planning"]


async def test_patience_ends(catalog, job):
    last = (await catalog.events_after(job.id))[-1].seq
    assert await catalog.wait_for_event(job.id, last, 0.02) == []
    assert await catalog.wait_for_event(job.id, last, 0) == []
    assert catalog._bell._listeners == {}


async def test_what_another_process_wrote_is_seen_when_the_time_is_over(place, catalog, job):
    last = (await catalog.events_after(job.id))[-1].seq
    waiter = asyncio.create_task(catalog.wait_for_event(job.id, last, 0.5))
    await asyncio.sleep(0.05)
    async with await Catalog.open(place) as elsewhere:
        await tell(elsewhere, job, 3)
    assert progress(await waiter) == [3]


async def test_closing_ends_the_waiting(place):
    catalog = await Catalog.open(place)
    await add_gram(catalog)
    job = await add_job(catalog)
    last = (await catalog.events_after(job.id))[-1].seq
    waiter = asyncio.create_task(catalog.wait_for_event(job.id, last, 60))
    await catalog.ping()
    await catalog.close()
    assert await waiter == []
    assert await catalog.wait_for_event(job.id, last, 60) == []
