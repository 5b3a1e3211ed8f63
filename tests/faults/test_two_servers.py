"""Two servers on one state directory: the second one refuses, or they share a database."""

import os
import subprocess
import sys

import numpy as np
import pytest
from live_server import LiveServer
from talk import Talk

import gramserve as gs

POSTGRES = os.environ.get("GRAMSERVE_TEST_DATABASE_URL")


def items(seed, count=24):
    return np.random.default_rng(seed).standard_normal((count, 6)).astype("f4")


def refused_on(server):
    """Start one with a catalog of its own on the same directory, and return how it ended."""
    words = ["--data-dir", str(server.data_dir), "--port", "0", "--workers", "0"]
    ended = subprocess.run(
        [sys.executable, "-m", "gramserve", "serve", *words],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 3
    assert "another server uses the state directory" in ended.stderr
    assert "--data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def check(talk, job, x):
    expected = gs.compute_gram(x, kernel="fc", engine="reference")
    np.testing.assert_allclose(talk.rows(job["gram"]), expected, rtol=1e-5)


def test_the_second_server_refuses_and_a_killed_one_leaves_no_lock(tmp_path):
    with LiveServer(tmp_path / "state") as first:
        refused_on(first)
        first.kill()
        first.start()


@pytest.fixture
async def database():
    if POSTGRES is None:
        pytest.skip("GRAMSERVE_TEST_DATABASE_URL names no PostgreSQL")
    from sqlalchemy import text

    from gramserve.catalog.database import build_engine
    from gramserve.catalog.place import parse_place

    engine = build_engine(parse_place(POSTGRES))
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return POSTGRES


def test_servers_on_one_database_share_the_directory(tmp_path, database):
    words = ("--engine", "reference", "--database-url", database)
    first = LiveServer(tmp_path / "state", words=words)
    second = LiveServer(tmp_path / "state", words=words)
    with first, second, Talk(first) as one, Talk(second) as other:
        jobs = []
        for number in range(6):
            talk = (one, other)[number % 2]
            x = items(number)
            jobs.append((talk.submit(talk.upload(x), kernel="fc", block_size=4), x))
        # A leftover of an upload that one of them is still receiving is not the other one's.
        arriving = first.data_dir / "uploads" / "arriving"
        arriving.write_bytes(b"x")
        for job, x in jobs:
            for talk in (one, other):
                assert talk.wait(job)["state"] == "succeeded"
                check(talk, job, x)
        refused_on(first)
        second.kill()
        second.start()
        assert arriving.exists()
        assert other.job(jobs[0][0])["state"] == "succeeded"
