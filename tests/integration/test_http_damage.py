"""Blocks that go bad on disk: found, never served, dropped, computed again."""

import asyncio

import numpy as np
import pytest
import structlog
from damage import DAMAGES, flip_data, zero
from service_app import KERNEL, problem, running_service, small_images

import gramserve as gs
from gramserve.blocks import Scheduler
from gramserve.service.routes import rows as row_routes


@pytest.fixture
async def service(tmp_path):
    async with running_service(tmp_path) as service:
        yield service


def object_of(service, gram, i, j):
    return service.state.layout.gram(gram) / "c" / str(i) / str(j)


async def check(service, job, x):
    found = await service.rows(job["gram"], start=0, stop=len(x))
    np.testing.assert_allclose(found, gs.compute_gram(x, kernel=KERNEL), rtol=1e-5)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_block_found_damaged_by_a_reader_is_dropped_and_can_be_computed_again(
    service, damage, monkeypatch
):
    monkeypatch.setattr("gramserve.store.whole_rows.TRUSTED_S", 0.0)
    x = small_images(20)
    job = await service.compute(x)
    gram = job["gram"]
    await check(service, job, x)
    damage(object_of(service, gram, 1, 0))
    rows = f"/v1/grams/{gram}/rows"
    answer = await service.http.get(rows, params={"start": 8, "stop": 9})
    detail = problem(answer, 409, "block_missing")["detail"]
    assert "block (0, 1)" in detail
    assert "submit the job once more" in detail
    assert not object_of(service, gram, 0, 1).exists()
    blocks = await service.state.catalog.blocks(gram)
    assert (0, 1) not in {(block.i, block.j) for block in blocks}
    report = (await service.http.get(f"/v1/grams/{gram}")).json()
    assert not report["complete"]
    assert report["blocks"]["done"] == 5
    # The other rows are served as before.
    assert (await service.rows(gram, start=16, stop=20)).shape == (4, 20)
    again = await service.submit(job["dataset"])
    finished = await service.until(again, "succeeded")
    assert finished["blocks"] == {"total": 6, "done": 6, "reused": 5, "failed": 0}
    await check(service, job, x)


@pytest.mark.parametrize("path", ["zarr/c/0/0", "diagonal", "rows?start=0&stop=1&wait=0.01"])
async def test_every_door_refuses_a_damaged_block(service, path):
    job = await service.compute(small_images(8))
    flip_data(object_of(service, job["gram"], 0, 0))
    answer = await service.http.get(f"/v1/grams/{job['gram']}/{path}")
    problem(answer, 409, "block_missing")
    again = await service.submit(job["dataset"])
    await service.until(again, "succeeded")
    answer = await service.http.get(f"/v1/grams/{job['gram']}/{path}")
    assert answer.status_code == 200


async def test_a_stream_is_cut_off_and_the_next_answer_says_why(service, monkeypatch):
    monkeypatch.setattr(row_routes, "DIRECT_BYTES", 0)
    monkeypatch.setattr(row_routes, "WHOLE_BYTES", 0)
    job = await service.compute(small_images(20))
    flip_data(object_of(service, job["gram"], 2, 2))
    rows = f"/v1/grams/{job['gram']}/rows"
    with (
        structlog.testing.capture_logs(),  # which would print the whole application
        pytest.raises(RuntimeError, match="already started"),  # a server closes the connection
    ):
        await service.http.get(rows)
    problem(await service.http.get(rows), 409, "block_missing")
    assert not object_of(service, job["gram"], 2, 2).exists()


async def test_a_job_that_loses_a_stored_block_while_it_runs_computes_it_again(
    service, monkeypatch
):
    x = small_images(20)
    slow = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Pausing(Scheduler):
        """Waits at the end of a run until the test has done its damage."""

        def run(self, *args):
            outcome = super().run(*args)
            if not slow.is_set():
                asyncio.run_coroutine_threadsafe(slow.wait(), loop).result()
            return outcome

    monkeypatch.setattr("gramserve.service.job_run.Scheduler", Pausing)
    job = await service.submit(await service.upload(x))
    async with asyncio.timeout(30):
        while not (await service.http.get(f"/v1/grams/{job['gram']}")).json()["complete"]:
            await asyncio.sleep(0.02)
    zero(object_of(service, job["gram"], 0, 2))
    answer = await service.http.get(f"/v1/grams/{job['gram']}/rows")
    problem(answer, 409, "block_missing")
    slow.set()
    assert (await service.until(job, "succeeded", "failed"))["state"] == "succeeded"
    await check(service, job, x)


async def test_damaged_variances_are_computed_again(service, tmp_path):
    x = small_images(20)
    job = await service.compute(x)
    runs = [path for path in (tmp_path / "state" / "variances").rglob("c/*/0") if path.is_file()]
    assert runs
    for path in runs:
        flip_data(path)
    for i, j in ((0, 0), (0, 1), (1, 0)):
        object_of(service, job["gram"], i, j).unlink(missing_ok=True)
    other = await service.submit(
        await service.upload(small_images(16, first=4)), other=job["dataset"]
    )
    assert (await service.until(other, "succeeded", "failed"))["state"] == "succeeded"
    again = await service.submit(job["dataset"])
    assert (await service.until(again, "succeeded", "failed"))["state"] == "succeeded"
    await check(service, job, x)
