"""What a power cut may leave of a job: names without content, half files, turned bits."""

import os
import sys

import numpy as np
import pytest
from damage import DAMAGES, flip_data
from fault_table import FaultTable
from faulty_server import window
from live_server import LiveServer
from talk import Talk

import gramserve as gs
from gramserve.store import GramStore

BLOCK, COUNT, TOTAL = 4, 40, 55


@pytest.fixture
def server(tmp_path):
    server = LiveServer(
        tmp_path / "state",
        module="faulty_server",
        words=("--engine", "reference"),
        PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
    )
    with server:
        yield server


def test_damaged_blocks_and_variances_are_found_at_the_start_and_computed_again(server):
    x = np.random.default_rng(0).standard_normal((COUNT, 6)).astype("f4")
    table = FaultTable(server.data_dir)
    table.pause(0.03)
    with Talk(server) as talk:
        job = talk.submit(talk.upload(x), kernel="fc", block_size=BLOCK)
        talk.until(job, lambda body: body["blocks"]["done"] >= 15)
    server.kill()
    gram = GramStore.open(server.data_dir / "grams" / job["gram"])
    stored = sorted(gram.stored_blocks())
    off_diagonal = [block for block in stored if block[0] != block[1]]
    damaged = set()
    for damage, block in zip(DAMAGES, off_diagonal[::2], strict=False):
        damage(gram.object_path(*block))
        damaged.add(block)
    mirrored = off_diagonal[1]
    flip_data(gram.object_path(*mirrored[::-1]))
    damaged.add(mirrored)
    assert len(damaged) == len(DAMAGES) + 1
    (gram.path / "c" / "0" / "1.abc.partial").write_bytes(b"half")
    for path in (server.data_dir / "variances").rglob("c/*/0"):
        flip_data(path)
    before = table.computed()
    table.pause(0)
    server.start()
    with Talk(server) as talk:
        body = talk.wait(job)
        assert body["state"] == "succeeded"
        assert body["blocks"]["done"] == TOTAL
        expected = gs.compute_gram(x, kernel="fc", engine="reference")
        np.testing.assert_allclose(talk.rows(job["gram"]), expected, rtol=1e-5)
    again = table.computed() - before
    assert {(job["gram"], block) for block in damaged} <= set(again)
    repeated = {block for _, block in again if block in stored}
    assert repeated == damaged
    assert sum(again.values()) == TOTAL - len(stored) + len(damaged)
    assert len(table.begun()) == TOTAL
    assert sum(table.begun().values()) <= TOTAL + len(damaged) + window(1)
    assert not list(gram.path.rglob("*.partial"))
    for block in gram.planned_blocks():
        gram.verify_block(*block)
