"""A catalog that refuses for a while: a real SQLite file, with a trigger as its full disk."""

import contextlib
import sqlite3

import pytest
from service_app import running_service, small_images

FULL = "database or disk is full"


@contextlib.contextmanager
def changed(folder, statement):
    with contextlib.closing(sqlite3.connect(folder / "state" / "catalog.sqlite")) as database:
        with database:
            database.execute(statement)
        yield


def refuse(folder, table, when):
    """Let the file refuse updates of some rows."""
    statement = (
        f"CREATE TRIGGER full BEFORE UPDATE ON {table} WHEN {when} "
        f"BEGIN SELECT RAISE(ABORT, '{FULL}'); END"
    )
    with changed(folder, statement):
        pass


def accept(folder):
    with changed(folder, "DROP TRIGGER full"):
        pass


@pytest.mark.parametrize("when", ["NEW.state = 'succeeded'", "NEW.blocks_done > 1"])
async def test_the_last_word_about_a_job_waits_until_it_can_be_written(tmp_path, monkeypatch, when):
    monkeypatch.setattr("gramserve.service.patience._PAUSE_S", 0.05)
    async with running_service(tmp_path) as service:
        dataset = await service.upload(small_images(20))
        refuse(tmp_path, "jobs", when)
        job = await service.submit(dataset)
        while FULL not in ((body := await service.job(job))["waiting_reason"] or ""):
            assert body["state"] in {"queued", "planning", "running"}
        gram = (await service.http.get(f"/v1/grams/{job['gram']}")).json()
        assert gram["blocks"]["done"] >= 1
        accept(tmp_path)
        body = await service.until(job, "succeeded", "failed")
        assert body["state"] == "succeeded"
        assert body["waiting_reason"] is None
        assert body["blocks"] == {"total": 6, "done": 6, "reused": 0, "failed": 0}
        assert (await service.rows(job["gram"])).shape == (20, 20)


async def test_a_server_whose_catalog_refuses_stops_and_its_job_goes_on_later(tmp_path):
    async with running_service(tmp_path) as service:
        dataset = await service.upload(small_images(20))
        refuse(tmp_path, "jobs", "NEW.state IN ('succeeded', 'queued')")
        job = await service.submit(dataset)
        while FULL not in ((await service.job(job))["waiting_reason"] or ""):
            pass
    accept(tmp_path)
    async with running_service(tmp_path) as service:
        body = await service.until(job, "succeeded", "failed")
        assert body["state"] == "succeeded"


async def test_keys_are_valid_although_their_use_cannot_be_written(tmp_path):
    async with running_service(tmp_path) as service:
        refuse(tmp_path, "keys", "1")
        assert (await service.http.get("/v1/datasets")).status_code == 200
