"""Claiming jobs and reporting on them."""

import asyncio
import inspect
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from catalog_claimant import claim_all
from catalog_seeds import add_gram, add_job, open_dispatcher, run_job

from gramserve.catalog import Catalog, JobProgress, database
from gramserve.errors import CatalogError, ConflictError


@pytest.fixture
async def dispatcher(catalog):
    return await open_dispatcher(catalog)


async def test_an_empty_queue_gives_nothing(catalog, dispatcher):
    assert await catalog.claim_next(dispatcher=dispatcher) is None


async def test_a_claim_is_planning_with_an_epoch_and_a_holder(catalog, dispatcher):
    await add_gram(catalog)
    job = await add_job(catalog, waiting_reason="in the queue")
    now = datetime.now(UTC)
    claimed = await catalog.claim_next(dispatcher=dispatcher, now=now)
    assert (claimed.id, claimed.state, claimed.epoch) == (job.id, "planning", 1)
    assert claimed.dispatcher == dispatcher
    assert (claimed.started, claimed.waiting_reason) == (now, None)
    assert await catalog.claim_next(dispatcher=dispatcher) is None
    assert await catalog.held_jobs(dispatcher) == [claimed]


async def test_priority_first_then_age(catalog, dispatcher):
    await add_gram(catalog)
    jobs = [await add_job(catalog, priority=priority) for priority in (0, 5, -1, 5, 0)]
    claimed = [(await catalog.claim_next(dispatcher=dispatcher)).id for _ in jobs]
    assert claimed == [jobs[k].id for k in (1, 3, 0, 4, 2)]


async def test_jobs_of_busy_grams_stay_queued(catalog, dispatcher):
    a, b = await add_gram(catalog, "a" * 32), await add_gram(catalog, "b" * 32, kernel="ntk")
    first = await add_job(catalog, a)
    await add_job(catalog, grams={"nngp": a, "ntk": b})
    last = await add_job(catalog, b)
    claim = partial(catalog.claim_next, dispatcher=dispatcher)
    assert (await claim()).id == first.id
    assert (await claim(exclude_grams={a})).id == last.id
    assert await claim(exclude_grams={a, b}) is None


async def test_jobs_may_be_limited_to_some_grams(catalog, dispatcher):
    a, b = await add_gram(catalog, "a" * 32), await add_gram(catalog, "b" * 32, kernel="ntk")
    both = await add_job(catalog, grams={"nngp": a, "ntk": b}, priority=9)
    one = await add_job(catalog, b)
    assert (await catalog.claim_next(dispatcher=dispatcher, within_grams={b})).id == one.id
    assert await catalog.claim_next(dispatcher=dispatcher, within_grams={b}) is None
    assert (await catalog.claim_next(dispatcher=dispatcher, within_grams={a, b})).id == both.id


async def test_a_gram_is_held_by_one_dispatcher_until_it_is_released(catalog, dispatcher):
    a, b = await add_gram(catalog, "a" * 32), await add_gram(catalog, "b" * 32, kernel="ntk")
    first, second = await add_job(catalog, a), await add_job(catalog, a)
    both = await add_job(catalog, grams={"nngp": a, "ntk": b})
    other = await open_dispatcher(catalog)
    assert (await catalog.claim_next(dispatcher=dispatcher)).id == first.id
    assert await catalog.claim_next(dispatcher=other) is None
    assert await catalog.gram_holders({a, b}) == {a: dispatcher}
    assert (await catalog.claim_next(dispatcher=dispatcher)).id == second.id
    await catalog.release_grams(other, {a})  # not its own
    assert await catalog.claim_next(dispatcher=other) is None
    await catalog.release_grams(dispatcher, {a})
    assert (await catalog.claim_next(dispatcher=other)).id == both.id
    assert await catalog.gram_holders({a, b}) == {a: other, b: other}


async def test_users_take_turns_within_a_priority(catalog, dispatcher):
    await add_gram(catalog)
    keys = {name: (await catalog.create_key(name, ["submit"]))[0].id for name in ("ann", "bob")}
    anns = [await add_job(catalog, key_id=keys["ann"]) for _ in range(4)]
    bobs = [await add_job(catalog, key_id=keys["bob"]) for _ in range(2)]
    urgent = await add_job(catalog, key_id=keys["ann"], priority=1)
    order = [urgent, bobs[0], anns[0], bobs[1], anns[1], anns[2]]
    claimed = [await catalog.claim_next(dispatcher=dispatcher) for _ in order]
    assert [job.id for job in claimed] == [job.id for job in order]
    assert await catalog.claim_next(dispatcher=dispatcher, idle_users=True) is None
    nobodys = await add_job(catalog)
    idle = await catalog.claim_next(dispatcher=dispatcher, idle_users=True)
    assert idle.id == nobodys.id


async def test_what_somebody_waits_for_goes_before_any_priority(catalog, dispatcher):
    a, b = await add_gram(catalog, "a" * 32), await add_gram(catalog, "b" * 32, kernel="ntk")
    await add_job(catalog, a, priority=100)
    waited = await add_job(catalog, b, priority=-100)
    claimed = await catalog.claim_next(dispatcher=dispatcher, first_grams={b})
    assert claimed.id == waited.id


async def test_the_dead_claim_nothing(catalog, dispatcher):
    await add_gram(catalog)
    await add_job(catalog)
    await catalog.retire_dispatcher(dispatcher)
    with pytest.raises(ConflictError, match="counted as dead"):
        await catalog.claim_next(dispatcher=dispatcher)


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
    assert (await catalog.job(job.id)).blocks_done == 0


async def test_progress_of_several_jobs_is_written_together(catalog):
    await add_gram(catalog)
    first, second = await add_job(catalog), await add_job(catalog)
    dispatcher = await open_dispatcher(catalog)
    epochs = [(await catalog.claim_next(dispatcher=dispatcher)).epoch for _ in range(2)]
    counts = {"done": 3, "reused": 1, "failed": 0, "total": 6}
    reports = [
        JobProgress(job=first.id, epoch=epochs[0], **counts),
        JobProgress(job=second.id, epoch=epochs[1] - 1, **counts),
    ]
    assert await catalog.record_progress_of(reports) == {first.id}
    assert (await catalog.job(first.id)).blocks_done == 3
    assert (await catalog.job(second.id)).blocks_done == 0


async def test_many_tasks_claim_every_job_once(catalog, dispatcher):
    await add_gram(catalog)
    ids = {(await add_job(catalog)).id for _ in range(24)}
    claims = (catalog.claim_next(dispatcher=dispatcher) for _ in range(30))
    claimed = await asyncio.gather(*claims)
    assert sorted(job.id for job in claimed if job is not None) == sorted(ids)


async def test_dispatchers_that_claim_at_once_share_no_gram(catalog):
    grams = [await add_gram(catalog, f"{number:032}") for number in range(4)]
    for gram in grams * 3:
        await add_job(catalog, gram)
    dispatchers = [await open_dispatcher(catalog) for _ in range(6)]
    claims = (catalog.claim_next(dispatcher=one) for _ in range(3) for one in dispatchers)
    claimed = [job for job in await asyncio.gather(*claims) if job is not None]
    holders = await catalog.gram_holders(grams)
    assert set(holders) == set(grams)
    assert all(holders[gram] == job.dispatcher for job in claimed for gram in job.grams.values())
    assert len({job.id for job in claimed}) == len(claimed) >= 4


async def test_four_processes_claim_every_job_and_every_gram_once(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(path) as catalog:
        grams = [await add_gram(catalog, f"{number:032}") for number in range(100)]
        ids = sorted([(await add_job(catalog, gram)).id for gram in grams * 3])
    spawn = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(4, mp_context=spawn) as pool:
        shares = await asyncio.gather(
            *(loop.run_in_executor(pool, claim_all, path) for _ in range(4))
        )
    assert sorted(id_ for share in shares for id_, _ in share) == ids
    holders = [{gram for _, grams in share for gram in grams} for share in shares]
    assert sum(len(held) for held in holders) == 100
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
            assert await catalog.beat(job.dispatcher)


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
    delegating |= {"pause_job", "resume_job", "jobs_of", "record_progress"}
    methods = {
        name: method
        for name, method in inspect.getmembers(Catalog, inspect.isfunction)
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    bare = {name for name, method in methods.items() if not hasattr(method, "__wrapped__")}
    assert bare == delegating
