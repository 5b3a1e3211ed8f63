"""Claiming jobs and reporting on them."""

import asyncio
import inspect
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from catalog_claimant import claim_all
from catalog_seeds import add_gram, add_job, run_job

from gramserve.catalog import Catalog, database
from gramserve.errors import CatalogError


async def test_an_empty_queue_gives_nothing(catalog):
    assert await catalog.claim_next(lease_s=60) is None


async def test_a_claim_is_planning_with_an_epoch_and_a_lease(catalog):
    await add_gram(catalog)
    job = await add_job(catalog, waiting_reason="in the queue")
    now = datetime.now(UTC)
    claimed = await catalog.claim_next(lease_s=90, now=now)
    assert (claimed.id, claimed.state, claimed.epoch) == (job.id, "planning", 1)
    assert claimed.lease_expires == now + timedelta(seconds=90)
    assert (claimed.started, claimed.waiting_reason) == (now, None)
    assert await catalog.claim_next(lease_s=90) is None


async def test_priority_first_then_age(catalog):
    await add_gram(catalog)
    jobs = [await add_job(catalog, priority=priority) for priority in (0, 5, -1, 5, 0)]
    claimed = [(await catalog.claim_next(lease_s=60)).id for _ in jobs]
    assert claimed == [jobs[k].id for k in (1, 3, 0, 4, 2)]


async def test_jobs_of_busy_grams_stay_queued(catalog):
    a, b = await add_gram(catalog, "a" * 32), await add_gram(catalog, "b" * 32, kernel="ntk")
    first = await add_job(catalog, a)
    await add_job(catalog, grams={"nngp": a, "ntk": b})
    last = await add_job(catalog, b)
    assert (await catalog.claim_next(lease_s=60)).id == first.id
    assert (await catalog.claim_next(lease_s=60, exclude_grams={a})).id == last.id
    assert await catalog.claim_next(lease_s=60, exclude_grams={a, b}) is None


async def test_progress_is_counted_and_told(catalog):
    await add_gram(catalog)
    job = await run_job(catalog, await add_job(catalog))
    assert await catalog.record_progress(job.id, job.epoch, done=4, reused=2, failed=1, total=6)
    job = await catalog.job(job.id)
    counts = (job.blocks_done, job.blocks_reused, job.blocks_failed, job.blocks_total)
    assert counts == (4, 2, 1, 6)
    event = (await catalog.events_after(job.id))[-1]
    assert event.kind == "progress"
    assert event.data == {"done": 4, "reused": 2, "failed": 1, "total": 6}


async def test_progress_of_a_finished_job_is_refused(catalog):
    await add_gram(catalog)
    job = await run_job(catalog, await add_job(catalog))
    await catalog.transition(job.id, "failed", epoch=job.epoch)
    assert not await catalog.record_progress(job.id, job.epoch, done=1, reused=0, failed=0, total=6)
    assert not await catalog.renew_lease(job.id, job.epoch, lease_s=60)
    assert (await catalog.job(job.id)).blocks_done == 0


async def test_many_tasks_claim_every_job_once(catalog):
    await add_gram(catalog)
    ids = {(await add_job(catalog)).id for _ in range(24)}
    claimed = await asyncio.gather(*(catalog.claim_next(lease_s=60) for _ in range(30)))
    assert sorted(job.id for job in claimed if job is not None) == sorted(ids)


async def test_four_processes_claim_every_job_once(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(path) as catalog:
        await add_gram(catalog)
        ids = sorted([(await add_job(catalog)).id for _ in range(300)])
    spawn = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(4, mp_context=spawn) as pool:
        shares = await asyncio.gather(
            *(loop.run_in_executor(pool, claim_all, path) for _ in range(4))
        )
    assert sorted(id_ for share in shares for id_ in share) == ids
    async with await Catalog.open(path) as catalog:
        assert await catalog.job_counts() == {"planning": 300}
        assert all(job.epoch == 1 for job in await catalog.jobs(limit=300))


async def test_many_may_make_one_new_database_at_once(place):
    opened = await asyncio.gather(*(Catalog.open(place) for _ in range(8)))
    for catalog in opened:
        await catalog.ping()
        await catalog.close()


async def test_cancelled_callers_leave_no_lock_behind(place, monkeypatch):
    # Long enough for a healthy writer, far too short for a lock that waits to be collected.
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.5)
    counts = {"done": 1, "reused": 0, "failed": 0, "total": 6}
    async with await Catalog.open(place) as catalog:
        await add_gram(catalog)
        job = await run_job(catalog, await add_job(catalog))
        for delay_ms in range(12):
            calls = (catalog.record_progress(job.id, job.epoch, **counts) for _ in range(3))
            tasks = [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(delay_ms / 1000)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await catalog.renew_lease(job.id, job.epoch, lease_s=60)


async def test_closing_waits_for_what_cancelled_callers_began(place):
    catalog = await Catalog.open(place)
    await add_gram(catalog)
    task = asyncio.create_task(add_job(catalog))
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await catalog.close()
    with pytest.raises(CatalogError, match="closed"):
        await catalog.jobs()


def test_every_method_that_asks_the_database_is_uninterrupted():
    delegating = {"close", "wait_for_event", "authenticate", "create_key"}
    delegating |= {"pause_job", "resume_job", "jobs_of"}
    methods = {
        name: method
        for name, method in inspect.getmembers(Catalog, inspect.isfunction)
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    bare = {name for name, method in methods.items() if not hasattr(method, "__wrapped__")}
    assert bare == delegating
