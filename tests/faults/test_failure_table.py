"""Blocks that raise, take their worker with them, hang, or rot: attempts and computations."""

import os
import signal
import time

import numpy as np

import gramserve as gs

BLOCK, COUNT, TOTAL = 4, 20, 15


def items(seed):
    return np.random.default_rng(seed).standard_normal((COUNT, 6)).astype("f4")


def of(counts, gram):
    return {block: count for (id_, block), count in counts.items() if id_ == gram}


def check(talk, job, x):
    expected = gs.compute_gram(x, kernel="fc", engine="reference")
    np.testing.assert_allclose(talk.rows(job["gram"]), expected, rtol=1e-5)


def test_every_block_is_attempted_as_often_as_it_failed_and_computed_once(table, talk):
    x = items(1)
    table.plan((0, 1), "raise", "raise")
    table.plan((1, 3), "exit")
    table.plan((2, 2), "raise", "exit")
    job = talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK)
    body = talk.wait(job)
    assert body["state"] == "succeeded"
    assert body["blocks"] == {"total": TOTAL, "done": TOTAL, "reused": 0, "failed": 0}
    begun, computed = of(table.begun(), job["gram"]), of(table.computed(), job["gram"])
    assert computed == dict.fromkeys(begun, 1)
    assert len(begun) == TOTAL
    assert begun[0, 1] == 3
    assert begun[1, 3] == 2
    assert begun[2, 2] == 3
    # A worker that dies takes at most its neighbours in the group along, one for each death.
    assert sum(begun.values()) <= TOTAL + 2 + 1 + 2 + 2
    check(talk, job, x)


def test_a_block_that_always_fails_is_set_aside_after_three_attempts(table, talk):
    x = items(2)
    table.plan((0, 2), *["raise"] * 3)
    job = talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK)
    body = talk.wait(job)
    assert body["state"] == "failed"
    assert body["failed_blocks"] == [{"block": [0, 2], "error": "injected"}]
    assert of(table.begun(), job["gram"])[0, 2] == 3
    again = talk.wait(talk.submit(job["dataset"], kernel="fc", block_size=BLOCK))
    assert again["blocks"] == {"total": TOTAL, "done": TOTAL, "reused": TOTAL - 1, "failed": 0}
    computed = of(table.computed(), job["gram"])
    assert computed == dict.fromkeys(of(table.begun(), job["gram"]), 1)
    check(talk, job, x)


def test_a_worker_that_hangs_costs_its_blocks_once_it_is_killed(table, talk):
    x = items(3)
    table.plan((0, 0), "hang")
    job = talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK)
    talk.until(job, lambda body: body["blocks"]["done"] >= TOTAL - 4)
    time.sleep(0.5)  # nothing more comes by itself
    assert talk.job(job)["state"] == "running"
    os.kill(table.hanging, signal.SIGKILL)
    assert talk.wait(job)["state"] == "succeeded"
    begun, computed = of(table.begun(), job["gram"]), of(table.computed(), job["gram"])
    assert begun[0, 0] == 2
    assert computed == dict.fromkeys(begun, 1)
    check(talk, job, x)


def test_a_block_that_rots_after_it_was_stored_is_computed_twice(table, talk):
    x = items(4)
    table.plan((1, 2), "corrupt")
    job = talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK)
    assert talk.wait(job)["state"] == "succeeded"
    refused = talk.http.get(f"/v1/grams/{job['gram']}/rows")
    assert (refused.status_code, refused.json()["code"]) == (409, "block_missing")
    again = talk.wait(talk.submit(job["dataset"], kernel="fc", block_size=BLOCK))
    assert again["blocks"] == {"total": TOTAL, "done": TOTAL, "reused": TOTAL - 1, "failed": 0}
    computed = of(table.computed(), job["gram"])
    assert computed.pop((1, 2)) == 2
    assert set(computed.values()) == {1}
    check(talk, job, x)
