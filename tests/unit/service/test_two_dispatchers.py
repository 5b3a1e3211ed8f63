"""Two dispatchers on one database: who computes, who takes over, and whose clock matters."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from catalog_seeds import DATABASES, add_gram, add_job, new_database
from failing_executor import FailingExecutor
from gram_work import FailureTable
from hypothesis import given
from hypothesis import strategies as st
from service_app import KERNEL, running_service, settings_of, small_images

import gramserve as gs
from gramserve.blocks import LoopExecutor, Policy, Scheduler
from gramserve.catalog import Catalog
from gramserve.service.dispatcher import Dispatcher
from gramserve.service.heartbeat import Heartbeat, Sightings

HASTY = partial(Scheduler, policy=Policy(backoff_s=0.01, target_task_s=0.001))


@pytest.fixture(params=DATABASES)
async def place(request, tmp_path):
    found = await new_database(request.param, tmp_path)
    return found if "://" in found else f"sqlite:///{found}"


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=40))
def test_only_the_same_beat_over_the_whole_lease_is_silence(looks):
    sightings, now, beat, silence = Sightings(60.0), 1000.0, 0, 0
    sightings.silent({"a": beat}, now)
    for seconds, has_beaten in looks:
        now += seconds
        beat += has_beaten
        silence = 0 if has_beaten else silence + min(seconds, 20)
        assert ("a" in sightings.silent({"a": beat}, now)) == (silence >= 60)


def test_who_could_not_look_calls_nobody_dead():
    sightings = Sightings(60.0)
    sightings.silent({"a": 7}, 0.0)
    assert not sightings.silent({"a": 7}, 86_400.0)  # the database was away for a day
    assert not sightings.silent({"a": 7}, 86_410.0)
    assert not sightings.silent({"a": 8}, 86_420.0)


class SteppedClock:
    """A wall clock that somebody sets forwards and back."""

    def __init__(self):
        self._random = random.Random(0)

    def __call__(self):
        return datetime.now(UTC) + timedelta(seconds=self._random.uniform(-1e6, 1e6))


async def test_clocks_that_step_move_nothing(place, monkeypatch):
    for module in ("lifecycle", "leases", "jobs", "dispatchers", "events"):
        with contextlib.suppress(AttributeError):
            monkeypatch.setattr(f"gramserve.catalog.{module}.utc_now", SteppedClock())
    steady = [0.0]
    nobody = {"home": None, "alone": False, "on_lost": lambda: None}
    async with await Catalog.open(place) as own, await Catalog.open(place) as other:
        holder = Heartbeat(own, **nobody)
        watcher = Heartbeat(other, **nobody, clock=lambda: steady[0])
        await holder.start()
        await watcher.start()
        await add_gram(own)
        job = await add_job(own)
        claimed = await own.claim_next(dispatcher=holder.dispatcher)
        for _ in range(30):  # ten minutes of a living holder
            steady[0] += 20
            await holder.beat()
            await watcher.beat()
        assert (await own.job(job.id)).epoch == claimed.epoch
        for _ in range(2):  # silent, not for long enough
            steady[0] += 20
            await watcher.beat()
        assert (await own.job(job.id)).state == "planning"
        steady[0] += 20
        await watcher.beat()
        taken = await own.job(job.id)
        assert (taken.state, taken.epoch) == ("queued", claimed.epoch + 1)
        assert not await own.record_progress(
            job.id, claimed.epoch, done=1, reused=0, failed=0, total=6
        )
        await holder.stop()
        await watcher.stop()


async def test_who_counted_as_dead_begins_anew(place):
    lost = []
    async with await Catalog.open(place) as catalog:
        heart = Heartbeat(catalog, home="here", alone=False, on_lost=lambda: lost.append(1))
        await heart.start()
        before = heart.dispatcher
        await catalog.retire_dispatcher(before)
        await heart.beat()
        assert lost == [1]
        assert heart.dispatcher != before
        assert set(await catalog.beats()) == {heart.dispatcher}
        await heart.stop()
        assert await catalog.beats() == {}


@contextlib.asynccontextmanager
async def second_dispatcher(folder, place, state, executor):
    """A dispatcher as another server's, on the same database and directories."""
    settings = settings_of(folder, database_url=place)
    async with (
        await Catalog.open(place) as catalog,
        Dispatcher(settings, state.layout, catalog, state.datasets, executor) as dispatcher,
    ):
        yield dispatcher


async def test_another_server_takes_over_from_one_that_is_silent(tmp_path, place, monkeypatch):
    monkeypatch.setattr("gramserve.service.job_run.Scheduler", HASTY)
    monkeypatch.setattr("gramserve.service.dispatcher._LOOK_S", 0.1)
    table = FailureTable(tmp_path / "failures")
    executor = FailingExecutor(LoopExecutor(), table.folder, 0.05)
    monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
    x = small_images(28)
    async with running_service(tmp_path, database_url=place) as service:
        digest = await service.upload(x)
        first = await service.submit(digest, block_size=4)
        while (await service.job(first))["blocks"]["done"] < 2:
            await asyncio.sleep(0.01)
        state = service.state
        async with second_dispatcher(tmp_path, place, state, executor) as other:
            second = await service.submit(digest, block_size=4)
            await service.until(second, "running")
            assert other.running == 0  # one dispatcher for one matrix
            # The first server computes on, and neither beats nor looks any more.
            state.dispatcher._heartbeat._task.cancel()
            state.dispatcher._is_stopping = True
            state.dispatcher.wake()
            await state.dispatcher._loop
            steady = [0.0]
            other._heartbeat._clock = lambda: steady[0]
            for _ in range(5):
                await other._heartbeat.beat()
                steady[0] += 20
            while other.running < 2:
                await asyncio.sleep(0.01)
            bodies = [await service.until(job, "succeeded", "failed") for job in (first, second)]
        assert [body["state"] for body in bodies] == ["succeeded", "succeeded"]
        assert all(body["blocks"]["done"] == 28 for body in bodies)
        np.testing.assert_allclose(
            await service.rows(first["gram"]), gs.compute_gram(x, kernel=KERNEL), rtol=1e-6
        )
        computed = [block for block, _ in table.attempts()]
        assert len(set(computed)) == 28
        # Twice at most what was out, and what began before the first one noticed.
        assert len(computed) - 28 <= 20


async def test_a_request_to_one_server_cancels_the_job_of_another(tmp_path, place, monkeypatch):
    monkeypatch.setattr("gramserve.service.job_run.Scheduler", HASTY)
    monkeypatch.setattr("gramserve.service.dispatcher._LOOK_S", 0.1)
    executor = FailingExecutor(LoopExecutor(), tmp_path / "failures", 0.05)
    monkeypatch.setattr("gramserve.service.state.open_executor", lambda *_, **__: executor)
    async with (
        running_service(tmp_path, database_url=place) as service,
        await Catalog.open(place) as other,
    ):
        job = await service.submit(await service.upload(small_images(40)), block_size=4)
        await service.until(job, "running")
        await other.cancel_job(job["id"])  # as a server would that does not run it
        body = await service.until(job, "cancelled", "succeeded")
        assert body["state"] == "cancelled"


async def test_a_server_that_starts_again_need_not_wait_for_its_predecessor(tmp_path, place):
    async with running_service(tmp_path, database_url=place) as service:
        home = service.state.dispatcher._heartbeat._home
        assert len(home) > 32
    async with await Catalog.open(place) as catalog:
        # As if it had been killed: its row is there, and a job of its own.
        dead, _ = await catalog.open_dispatcher(home=home)
        await add_gram(catalog)
        job = await add_job(catalog)
        await catalog.claim_next(dispatcher=dead)
    async with running_service(tmp_path, database_url=place) as service:
        assert dead not in await service.state.catalog.beats()
        assert (await service.state.catalog.job(job.id)).dispatcher != dead
