import asyncio
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from failing_executor import FailingExecutor
from gram_work import FailureTable
from service_app import KERNEL, problem, running_service, small_images

import gramserve as gs
from gramserve.blocks import LoopExecutor, Policy, Scheduler
from gramserve.catalog import Catalog
from gramserve.errors import CatalogError, WorkerLostError

HASTY = partial(
    Scheduler, policy=Policy(backoff_s=0.01, outage_wait_s=0.1, target_task_s=0.001, max_group=2)
)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Small tasks and short pauses, so that tests see what happens between tasks."""
    monkeypatch.setattr("gramserve.service.job_run.Scheduler", HASTY)
    monkeypatch.setattr("gramserve.service.dispatcher._FIRST_REST_S", 0.05)


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Return a function that makes blocks fail, or every block take its time."""

    def prepare(failures=None, pause_s=0.0):
        table = FailureTable(tmp_path / "failures")
        for block, (times, how) in (failures or {}).items():
            table.plan(block, times, how)
        executor = FailingExecutor(LoopExecutor(), table.folder, pause_s)
        monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
        return table

    return prepare


async def events_of(service, job):
    return await service.state.catalog.events_after(job["id"])


async def until_stored(service, job, count):
    while (await service.job(job))["blocks"]["done"] < count:
        await asyncio.sleep(0.02)


async def test_a_failed_block_ends_the_job_and_leaves_the_others(tmp_path, failing):
    failing({(0, 1): (1, "hopeless")})
    x = small_images(20)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x))
        body = await service.until(job, "succeeded", "failed")
        assert body["state"] == "failed"
        assert body["failed_blocks"] == [{"block": [0, 1], "error": "injected NaN"}]
        assert body["blocks"] == {"total": 6, "done": 5, "reused": 0, "failed": 1}
        assert body["error"]["code"] == "non_finite_kernel"
        assert "(0, 1)" in body["error"]["message"]
        truth = gs.compute_gram(x, kernel=KERNEL)
        last = await service.rows(job["gram"], start=16)
        np.testing.assert_allclose(last, truth[16:], rtol=1e-6)
        gone = await service.http.get(f"/v1/grams/{job['gram']}/rows?start=0&stop=1")
        assert problem(gone, 409, "block_missing")["context"]["blocks"] == [[0, 1]]
        report = (await service.http.get(f"/v1/grams/{job['gram']}")).json()
        assert report["blocks"]["failed"] == 1
        # The table has no further failure: asking again computes what is missing.
        again = await service.until(await service.submit(job["dataset"]), "succeeded", "failed")
        assert again["blocks"] == {"total": 6, "done": 6, "reused": 5, "failed": 0}
        assert again["failed_blocks"] == []


async def test_a_block_that_fails_once_is_tried_again(tmp_path, failing):
    failing({(1, 1): (2, "raise")})
    async with running_service(tmp_path) as service:
        job = await service.compute(small_images(20))
        assert job["blocks"]["failed"] == 0


async def test_a_full_disk_is_waited_for_and_said(tmp_path, failing):
    failing({(0, 0): (8, "full")})
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(small_images(20)))
        while "no space" not in ((body := await service.job(job))["waiting_reason"] or ""):
            assert body["state"] not in {"failed", "succeeded"}
            await asyncio.sleep(0.02)
        finished = await service.until(job, "succeeded", "failed")
        assert finished["state"] == "succeeded"
        assert finished["waiting_reason"] is None


async def test_a_cancelled_job_stops_and_keeps_what_is_stored(tmp_path, failing):
    failing(pause_s=0.05)
    x = small_images(40)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x), block_size=4)
        await until_stored(service, job, 2)
        answer = await service.http.delete(f"/v1/jobs/{job['id']}")
        assert answer.json()["state"] in {"cancelling", "cancelled"}
        body = await service.until(job, "cancelled", timeout_s=5)
        stored = body["blocks"]["done"]
        assert 2 <= stored < 55
        again = await service.http.delete(f"/v1/jobs/{job['id']}")
        assert again.json()["state"] == "cancelled"
        gram = await service.state.grams.get(job["gram"])
        assert len(gram.store.stored_blocks()) == stored
        plan = {"dataset": job["dataset"], "kernel": KERNEL, "block_size": 4}
        planned = (await service.http.post("/v1/plans", json=plan)).json()
        assert planned["blocks"]["cached"] == stored


async def test_a_waiting_job_is_cancelled_at_once(tmp_path, failing):
    failing(pause_s=0.05)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        first = await service.submit(await service.upload(small_images(40)), block_size=4)
        second = await service.submit(await service.upload(small_images(8)))
        answer = await service.http.delete(f"/v1/jobs/{second['id']}")
        assert answer.json()["state"] == "cancelled"
        assert (await service.job(first))["state"] not in {"cancelled", "succeeded"}


async def test_a_paused_job_rests_until_it_is_resumed(tmp_path, failing):
    failing(pause_s=0.03)
    x = small_images(24)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x), block_size=4)
        await until_stored(service, job, 1)
        paused = (await service.http.post(f"/v1/jobs/{job['id']}:pause")).json()
        assert paused["state"] == "paused"
        assert paused["waiting_reason"]
        while service.state.dispatcher.running:
            await asyncio.sleep(0.02)
        stored = (await service.job(job))["blocks"]["done"]
        await asyncio.sleep(0.3)
        assert (await service.job(job))["blocks"]["done"] == stored < 21
        again = await service.http.post(f"/v1/jobs/{job['id']}:pause")
        problem(again, 409, "illegal_transition")
        await service.http.post(f"/v1/jobs/{job['id']}:resume")
        finished = await service.until(job, "succeeded", "failed")
        assert finished["blocks"] == {"total": 21, "done": 21, "reused": 0, "failed": 0}
        truth = gs.compute_gram(x, kernel=KERNEL)
        np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=1e-6)


async def test_jobs_beyond_the_limit_wait_and_the_urgent_one_goes_first(tmp_path, failing):
    failing(pause_s=0.05)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        long = await service.submit(await service.upload(small_images(20)), block_size=4)
        await until_stored(service, long, 1)
        digest = await service.upload(small_images(8, first=30))
        low = await service.submit(digest, priority=-5)
        high = await service.submit(digest, priority=5, kernel="myrtle5", block_size=4)
        for job in (low, high):
            while "CONCURRENT_JOBS" not in ((await service.job(job))["waiting_reason"] or ""):
                await asyncio.sleep(0.01)
        ended = [await service.until(job, "succeeded") for job in (long, low, high)]
        starts = [job["started"] for job in ended]
        assert starts[0] < starts[2] < starts[1]


@pytest.mark.parametrize("broken", ["claim_next", "transition"])
async def test_a_job_whose_claim_or_end_was_not_heard_of_goes_on(
    tmp_path, failing, monkeypatch, broken
):
    failing()
    monkeypatch.setattr("gramserve.service.dispatcher._LOOK_S", 0.05)
    real, lost = getattr(Catalog, broken), []

    async def deaf(self, *args, **how):
        result = await real(self, *args, **how) if broken == "claim_next" else None
        heard = result is not None or (broken == "transition" and args[1] == "succeeded")
        if heard and len(lost) < 2:
            lost.append(1)
            raise CatalogError("the connection was lost")
        return result if broken == "claim_next" else await real(self, *args, **how)

    monkeypatch.setattr(Catalog, broken, deaf)
    async with running_service(tmp_path) as service:
        job = await service.compute(small_images(20))
        assert job["blocks"]["done"] == 6
        assert len(lost) == 2


class LostExecutor(LoopExecutor):
    """Cannot be reached at first."""

    def __init__(self, failures, error):
        self.failures = failures
        self.error = error

    @contextmanager
    def session(self, priority=0):
        if self.failures:
            self.failures -= 1
            raise self.error
        with super().session(priority) as session:
            yield session


async def test_a_job_waits_for_a_lost_cluster(tmp_path, monkeypatch):
    executor = LostExecutor(4, WorkerLostError("the scheduler does not answer"))
    monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
    async with running_service(tmp_path) as service:
        job = await service.compute(small_images(8))
        events = await events_of(service, job)
        reasons = [event.data.get("waiting_reason") or "" for event in events]
        assert any("does not answer" in reason and "tried again" in reason for reason in reasons)
        assert executor.failures == 0


async def test_a_job_that_only_surprises_ends(tmp_path, monkeypatch):
    executor = LostExecutor(99, ZeroDivisionError("by zero"))
    monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(small_images(8)))
        body = await service.until(job, "failed", "succeeded")
        assert body["error"] == {"code": "internal", "message": "ZeroDivisionError: by zero"}


async def test_a_job_whose_items_went_away_fails_at_once(tmp_path, failing):
    failing(pause_s=0.1)
    async with running_service(tmp_path, concurrent_jobs=1) as service:
        first = await service.submit(await service.upload(small_images(12)), block_size=4)
        digest = await service.upload(small_images(8, first=30))
        second = await service.submit(digest)
        service.state.datasets.delete(digest)
        body = await service.until(second, "failed", "succeeded")
        assert body["error"]["code"] == "not_found"
        assert (await service.until(first, "succeeded"))["blocks"]["done"] == 6


async def test_a_stopped_server_goes_on_where_it_was(tmp_path, failing):
    table = failing(pause_s=0.04)
    x = small_images(24)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x), block_size=4)
        await until_stored(service, job, 3)
    async with running_service(tmp_path) as service:
        finished = await service.until(job, "succeeded", "failed")
        assert finished["blocks"] == {"total": 21, "done": 21, "reused": 0, "failed": 0}
        truth = gs.compute_gram(x, kernel=KERNEL)
        np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=1e-6)
    computed = [block for block, _ in table.attempts()]
    assert len(set(computed)) == 21
    assert len(computed) <= 21 + 2


async def test_rows_can_wait_for_their_blocks(tmp_path, failing):
    failing(pause_s=0.03)
    x = small_images(24)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(x), block_size=4)
        path = f"/v1/grams/{job['gram']}/rows?start=20&stop=24"
        early = await service.http.get(path)
        problem(early, 409, "block_missing")
        assert int(early.headers["retry-after"]) > 0
        problem(await service.http.get(f"{path}&wait=0.05"), 409, "block_missing")
        waited = await service.http.get(f"{path}&wait=60")
        assert waited.status_code == 200
        truth = gs.compute_gram(x, kernel=KERNEL)
        rows = np.frombuffer(waited.content, "<f4").reshape(4, 24)
        np.testing.assert_allclose(rows, truth[20:], rtol=1e-6)


async def test_a_running_job_tells_its_pace(tmp_path, failing):
    failing(pause_s=0.05)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(small_images(40)), block_size=4)
        while (body := await service.job(job))["rate_entries_per_s"] is None:
            assert body["state"] != "succeeded"
            await asyncio.sleep(0.02)
        assert body["rate_entries_per_s"] > 0
        assert body["eta_s"] > 0
        assert 0 < body["progress"] < 1
        await service.http.delete(f"/v1/jobs/{job['id']}")


async def test_streams_end_when_the_server_stops(tmp_path, failing):
    failing(pause_s=0.05)
    async with running_service(tmp_path) as service:
        job = await service.submit(await service.upload(small_images(40)), block_size=4)
        stream = asyncio.create_task(service.http.get(f"/v1/jobs/{job['id']}/events"))
        while "progress" not in [event.kind for event in await events_of(service, job)]:
            await asyncio.sleep(0.02)
        service.state.closing.set()
        async with asyncio.timeout(20):
            answer = await stream
        assert "event: progress" in answer.text
        assert "succeeded" not in answer.text
