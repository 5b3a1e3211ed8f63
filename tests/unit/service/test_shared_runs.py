"""Several jobs of one matrix, rows that somebody waits for, users side by side."""

import asyncio
from functools import partial

import numpy as np
import pytest
from failing_executor import FailingExecutor
from gram_work import FailureTable
from service_app import KERNEL, array_of, running_service, small_images

import gramserve as gs
from gramserve.blocks import LoopExecutor, Policy, Scheduler
from gramserve.plan import BlockMap, Grid
from gramserve.service.others import Others

HASTY = partial(Scheduler, policy=Policy(backoff_s=0.01, target_task_s=0.001))
BOTH = {**KERNEL, "kernel": ["nngp", "ntk"]}


@pytest.fixture
def slowed(tmp_path, monkeypatch):
    """Return a function that makes every block take its time; returns the table of attempts."""
    monkeypatch.setattr("gramserve.service.job_run.Scheduler", HASTY)

    def prepare(pause_s):
        table = FailureTable(tmp_path / "failures")
        executor = FailingExecutor(LoopExecutor(), table.folder, pause_s)
        monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
        return table

    return prepare


async def until_stored(service, job, count):
    while (await service.job(job))["blocks"]["done"] < count:
        await asyncio.sleep(0.01)


def each_once(table):
    computed = [block for block, _ in table.attempts()]
    return len(computed) == len(set(computed))


async def test_jobs_of_one_matrix_run_together_and_compute_it_once(tmp_path, slowed):
    table = slowed(0.03)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        digest = await service.upload(small_images(24))
        first = await service.submit(digest, block_size=4)
        await until_stored(service, first, 2)
        second = await service.submit(digest, block_size=4)
        body = await service.until(second, "running", "succeeded")
        assert body["state"] == "running"
        await until_stored(service, second, 3)
        assert service.state.dispatcher.running == 2
        ended = [await service.until(job, "succeeded") for job in (first, second)]
        counts = [job["blocks"] for job in ended]
        assert counts[0] == {"total": 21, "done": 21, "reused": 0, "failed": 0}
        assert 2 <= counts[1]["reused"] < 21
        assert counts[1] | {"reused": 0} == counts[0]
        assert each_once(table)
        assert len(table.attempts()) == 21


@pytest.mark.parametrize("how", ["cancel", "pause"])
async def test_who_leaves_a_shared_matrix_leaves_it_to_the_others(tmp_path, slowed, how):
    table = slowed(0.03)
    async with running_service(tmp_path) as service:
        digest = await service.upload(small_images(24))
        first = await service.submit(digest, block_size=4)
        await until_stored(service, first, 1)
        second = await service.submit(digest, block_size=4)
        await service.until(second, "running")
        path = f"/v1/jobs/{first['id']}"
        if how == "cancel":
            await service.http.delete(path)
            assert (await service.job(first))["state"] == "cancelled"
        else:
            await service.http.post(f"{path}:pause")
            assert (await service.job(first))["state"] == "paused"
        assert service.state.dispatcher.running == 1
        body = await service.until(second, "succeeded", "failed")
        assert body["blocks"]["done"] == 21
        assert each_once(table)
        left = await service.job(first)
        assert left["state"] == ("cancelled" if how == "cancel" else "paused")
        if how == "pause":
            await service.http.post(f"{path}:resume")
            assert (await service.until(first, "succeeded"))["blocks"]["done"] == 21
            assert each_once(table)


async def test_the_last_one_to_leave_ends_it_without_losing_a_block(tmp_path, slowed):
    table = slowed(0.05)
    async with running_service(tmp_path) as service:
        digest = await service.upload(small_images(24))
        jobs = [await service.submit(digest, block_size=4) for _ in range(2)]
        await until_stored(service, jobs[1], 1)
        for job in jobs:
            await service.http.delete(f"/v1/jobs/{job['id']}")
        again = await service.submit(digest, block_size=4)
        body = await service.until(again, "succeeded", "failed")
        assert body["blocks"]["done"] == 21
        assert each_once(table)  # also the blocks that were being computed at the moment


async def test_a_job_for_one_of_two_matrices_shares_the_pass_and_may_outlive_it(tmp_path, slowed):
    table = slowed(0.03)
    x = small_images(24)
    async with running_service(tmp_path) as service:
        digest = await service.upload(x)
        both = await service.submit(digest, kernel=BOTH, block_size=4)
        await until_stored(service, both, 1)
        one = await service.submit(digest, kernel={**KERNEL, "kernel": "ntk"}, block_size=4)
        await service.until(one, "running")
        await service.http.delete(f"/v1/jobs/{both['id']}")
        body = await service.until(one, "succeeded", "failed")
        assert body["blocks"]["done"] == 21
        assert (await service.job(both))["state"] == "cancelled"
        assert each_once(table)
        truth = gs.compute_gram(x, kernel={**KERNEL, "kernel": "ntk"})
        np.testing.assert_allclose(await service.rows(one["gram"]), truth, rtol=1e-6)
        report = (await service.http.get(f"/v1/grams/{both['grams']['nngp']}")).json()
        assert not report["complete"]  # nobody wanted the rest of it


async def test_rows_that_somebody_waits_for_are_computed_first(tmp_path, slowed):
    table = slowed(0.03)
    x = small_images(40)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x), block_size=4)
        await until_stored(service, job, 1)
        path = f"/v1/grams/{job['gram']}/rows?start=30&stop=31&wait=60"
        waited = await service.http.get(path)
        assert waited.status_code == 200
        stored = (await service.job(job))["blocks"]["done"]
        truth = gs.compute_gram(x[30:31], x, kernel=KERNEL)
        np.testing.assert_allclose(array_of(waited), truth, rtol=1e-6)
        order = [block for block, _ in table.attempts()]
        wanted = {(min(i, 7), max(i, 7)) for i in range(10)}
        assert max(order.index(block) for block in wanted) < 20
        assert stored < 55
        body = {"rows": [39], "columns": [0, 39], "wait": 60}
        listed = await service.http.post(f"/v1/grams/{job['gram']}/rows", json=body)
        assert listed.status_code == 200
        order = [block for block, _ in table.attempts()]
        assert len(order) < 45
        assert each_once(table)
        await service.http.delete(f"/v1/jobs/{job['id']}")


async def test_a_queued_matrix_that_somebody_waits_for_goes_first(tmp_path, slowed):
    slowed(0.02)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        first = await service.submit(await service.upload(small_images(24)), block_size=4)
        await until_stored(service, first, 1)
        digest = await service.upload(small_images(16, first=30))
        urgent = await service.submit(digest, priority=50, block_size=4)
        waited = await service.submit(digest, priority=-50, block_size=4, kernel="myrtle5")
        path = f"/v1/grams/{waited['gram']}/rows?start=0&stop=1&wait=60"
        assert (await service.http.get(path)).status_code == 200
        bodies = [await service.until(job, "succeeded") for job in (waited, urgent)]
        assert bodies[0]["started"] < bodies[1]["started"]


async def test_a_user_with_nothing_running_does_not_wait_for_the_queue_of_another(tmp_path, slowed):
    slowed(0.03)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        x = small_images(24)
        digests = [await service.upload(x + number) for number in range(4)]
        jobs = [await service.submit(digest, block_size=4) for digest in digests]
        await until_stored(service, jobs[0], 1)
        made = await service.http.post("/v1/keys", json={"name": "ann", "scopes": ["submit"]})
        service.http.headers["Authorization"] = f"Bearer {made.json()['secret']}"
        own = await service.submit(await service.upload(small_images(8, first=40)), block_size=4)
        await service.until(own, "succeeded")
        states = [(await service.job(job))["state"] for job in jobs]
        assert states.count("queued") >= 2
        for job in jobs:
            await service.http.delete(f"/v1/jobs/{job['id']}")


async def test_two_users_get_half_of_the_workers_each(tmp_path, slowed):
    slowed(0.02)
    async with running_service(tmp_path) as service:
        x = small_images(24)
        anns = []
        for number in range(3):
            anns.append(await service.submit(await service.upload(x + number), block_size=4))
        made = await service.http.post("/v1/keys", json={"name": "bob", "scopes": ["submit"]})
        service.http.headers["Authorization"] = f"Bearer {made.json()['secret']}"
        bobs = await service.submit(await service.upload(x + 9), block_size=4)
        await until_stored(service, bobs, 1)
        before = sum([(await service.job(job))["blocks"]["done"] for job in anns])
        await service.until(bobs, "succeeded")
        after = sum([(await service.job(job))["blocks"]["done"] for job in anns])
        # Twenty blocks of the one, about as many of the three others together, and not three times.
        assert after - before < 40
        for job in anns:
            await service.http.delete(f"/v1/jobs/{job['id']}")


async def test_the_block_map_shows_what_is_stored(tmp_path, slowed):
    slowed(0.03)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(small_images(24)), block_size=4)
        await until_stored(service, job, 3)
        path = f"/v1/grams/{job['gram']}/block-map"
        grid = Grid(24, 24, 4, symmetric=True)
        answer = await service.http.get(path)
        assert answer.headers["x-gram-panels"] == "6,6"
        done, total = map(int, answer.headers["x-gram-blocks"].split(","))
        bits = int.from_bytes(answer.content, "little")
        assert 3 <= done == bits.bit_count() < total == 21
        first = [block for place, block in enumerate(grid.blocks()) if bits >> place & 1]
        gram = await service.state.grams.get(job["gram"])
        assert set(first) <= gram.store.stored_blocks()
        await service.until(job, "succeeded")
        whole = await service.http.get(path)
        assert whole.content == BlockMap(grid, grid.blocks()).to_bytes()


NEEDED = 36
"""Blocks of 4 of the first 32 images; the matrix of 24 of them holds 21."""


async def overlapping(service, **asked):
    """Submit two jobs whose matrices share blocks, the smaller first; return both."""
    x = small_images(32)
    digests = [await service.upload(part) for part in (x[:24], x)]
    first = await service.submit(digests[0], block_size=4, **asked)
    await until_stored(service, first, 1)
    return first, await service.submit(digests[1], block_size=4, **asked)


async def test_of_two_kernels_every_block_is_computed_once_and_counted_once(tmp_path, slowed):
    table = slowed(0.03)
    async with running_service(tmp_path) as service:
        jobs = await overlapping(service, kernel=BOTH)
        ended = [(await service.until(job, "succeeded"))["blocks"] for job in jobs]
    assert [counts["reused"] for counts in ended] == [0, 21]
    assert [counts["done"] for counts in ended] == [21, NEEDED]
    assert len(table.attempts()) == NEEDED


async def test_a_computation_that_ends_while_another_is_planned_is_taken_over(
    tmp_path, slowed, monkeypatch
):
    begun = Others.begun

    async def late(self, should_stop):
        if self.earlier():
            await asyncio.sleep(1.5)  # as long as a third computation is being planned
        return await begun(self, should_stop)

    monkeypatch.setattr(Others, "begun", late)
    table = slowed(0.03)
    async with running_service(tmp_path) as service:
        jobs = await overlapping(service)
        ended = [(await service.until(job, "succeeded"))["blocks"] for job in jobs]
    assert [counts["reused"] for counts in ended] == [0, 21]
    assert len(table.attempts()) == NEEDED


async def test_rows_of_blocks_that_another_job_makes_do_not_wait_for_the_end(tmp_path, slowed):
    table = slowed(0.15)
    async with running_service(tmp_path) as service:
        jobs = await overlapping(service)
        url = f"/v1/grams/{jobs[1]['gram']}/rows"
        body = {"rows": [20], "columns": [20], "wait": 30}
        answer = await service.http.post(url, json=body)
        assert answer.status_code == 200, answer.text
        counts = (await service.job(jobs[1]))["blocks"]
        assert counts["done"] < NEEDED - 3, "it came long before the job had ended"
        for job in jobs:
            await service.until(job, "succeeded")
    assert len(table.attempts()) == NEEDED


async def test_blocks_left_to_a_job_that_is_cancelled_are_computed(tmp_path, slowed):
    table = slowed(0.05)
    async with running_service(tmp_path) as service:
        first, second = await overlapping(service)
        await until_stored(service, second, 1)
        await service.http.delete(f"/v1/jobs/{first['id']}")
        body = await service.until(second, "succeeded")
        assert body["waiting_reason"] is None
        truth = gs.compute_gram(small_images(32), kernel=KERNEL)
        np.testing.assert_allclose(await service.rows(second["gram"]), truth, rtol=2e-5)
    assert each_once(table)
