"""Asking for jobs and looking at them."""

import asyncio

import pytest
from catalog_seeds import DIGEST, SPEC, add_dataset, add_gram, add_job, claim

from gramserve.errors import ConflictError, JobNotFoundError, StoreNotFoundError


async def test_a_job_reads_back_as_written(catalog):
    await add_gram(catalog)
    job = await add_job(catalog, priority=7, blocks_total=6, engine="cpu", waiting_reason="later")
    assert await catalog.job(job.id) == job
    assert (job.state, job.epoch, job.priority, job.engine) == ("queued", 0, 7, "cpu")
    assert (job.grams, job.spec, job.blocks_total) == ({"nngp": "g" * 32}, SPEC, 6)
    assert (job.waiting_reason, job.started, job.finished) == ("later", None, None)


async def test_a_job_with_nothing_to_compute_is_finished_at_once(catalog):
    await add_gram(catalog)
    job = await add_job(catalog, state="succeeded", blocks_total=6, blocks_done=6, blocks_reused=6)
    assert job.finished == job.created
    assert await claim(catalog) is None
    (event,) = await catalog.events_after(job.id)
    assert event.data["state"] == "succeeded"


async def test_jobs_need_their_dataset_and_gram(catalog):
    with pytest.raises(StoreNotFoundError, match="no data set"):
        await add_job(catalog)
    await add_dataset(catalog)
    with pytest.raises(StoreNotFoundError, match="no Gram matrix"):
        await add_job(catalog)
    assert await catalog.jobs() == []


async def test_an_unknown_job_is_not_found(catalog):
    with pytest.raises(JobNotFoundError, match="no job nope"):
        await catalog.job("nope")


async def test_jobs_are_listed_newest_first_and_filtered(catalog):
    await add_gram(catalog)
    ids = [(await add_job(catalog)).id for _ in range(4)]
    await catalog.cancel_job(ids[1])
    await catalog.pause_job(ids[2])
    assert [job.id for job in await catalog.jobs()] == ids[::-1]
    assert [job.id for job in await catalog.jobs(limit=2, offset=1)] == [ids[2], ids[1]]
    assert [job.id for job in await catalog.jobs(states={"queued"})] == [ids[3], ids[0]]
    assert await catalog.jobs(states=[]) == []
    assert await catalog.jobs(dataset="e" * 64) == []
    assert len(await catalog.jobs(dataset=DIGEST)) == 4
    assert await catalog.job_counts() == {"queued": 2, "cancelled": 1, "paused": 1}


async def test_the_same_idempotency_key_makes_one_job(catalog):
    await add_gram(catalog)
    first = await add_job(catalog, idempotency_key="k1")
    assert await add_job(catalog, idempotency_key="k1") == first
    assert (await add_job(catalog, idempotency_key="k2")).id != first.id
    assert len(await catalog.jobs()) == 2


async def test_an_idempotency_key_for_another_request_is_refused(catalog):
    await add_gram(catalog)
    first = await add_job(catalog, idempotency_key="k1")
    with pytest.raises(ConflictError, match=first.id):
        await add_job(catalog, idempotency_key="k1", priority=1)
    assert len(await catalog.jobs()) == 1


async def test_idempotency_keys_belong_to_their_askers(catalog):
    await add_gram(catalog)
    ada, _ = await catalog.create_key("ada", ["submit"])
    bob, _ = await catalog.create_key("bob", ["submit"])
    jobs = [
        await add_job(catalog, idempotency_key="k1", key_id=key_id)
        for key_id in (ada.id, bob.id, None, ada.id, bob.id, None)
    ]
    assert jobs[:3] == jobs[3:]
    assert len({job.id for job in jobs}) == 3


async def test_many_at_once_with_one_idempotency_key_make_one_job(catalog):
    await add_gram(catalog)
    jobs = await asyncio.gather(*(add_job(catalog, idempotency_key="k") for _ in range(12)))
    assert len({job.id for job in jobs}) == 1
    assert len(await catalog.jobs()) == 1
