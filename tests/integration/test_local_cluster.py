"""A real LocalCluster with two processes: the same matrix, also when workers are killed."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from failing_executor import FailingExecutor
from gram_work import KERNEL, FailureTable, images, make_work, read_grams

from gramserve.blocks import Policy, Scheduler, open_executor
from gramserve.blocks.cluster import DaskExecutor
from gramserve.compute import compute_gram
from gramserve.errors import WorkerLostError

pytestmark = pytest.mark.usefixtures("lost_connections")

FAST = Policy(backoff_s=0.05, outage_wait_s=0.2)


@pytest.fixture
def executor():
    executor = open_executor(workers=2)
    yield executor
    executor.close()


def check(work, x):
    expected = compute_gram(x, kernel=KERNEL)
    for name, gram in read_grams(work).items():
        np.testing.assert_allclose(gram, expected[name], rtol=3e-6)


def test_a_worker_killed_in_the_middle_costs_the_blocks_in_flight(tmp_path, executor):
    x = images(28)
    work = make_work(tmp_path, x)
    table = FailureTable(tmp_path / "table")
    slowed = FailingExecutor(executor, table.folder, pause_s=0.05)
    killed = []

    def observe(progress):
        if progress.done >= 6 and not killed:
            killed.append(table.attempts()[-1][1])
            os.kill(killed[0], signal.SIGKILL)

    outcome = Scheduler(slowed, policy=FAST).run(work, observe)
    assert killed
    assert outcome.is_complete
    check(work, x)
    attempts = table.attempts()
    assert {block for block, _ in attempts} == set(work.grid.blocks())
    assert len({pid for _, pid in attempts}) >= 3  # two workers, and the one that replaced one
    window = executor.slots * FAST.window_per_slot * FAST.max_group
    assert len(attempts) - outcome.total <= window


def test_a_block_that_kills_its_workers_is_set_aside_and_the_others_are_stored(tmp_path, executor):
    work = make_work(tmp_path, images(8))
    table = FailureTable(tmp_path / "table")
    table.plan((0, 1), 99, "die")
    patient = Policy(backoff_s=0.05, max_attempts=1)
    outcome = Scheduler(FailingExecutor(executor, table.folder), policy=patient).run(work)
    assert outcome.failed[0, 1].code == "worker_lost"
    assert "memory" in outcome.failed[0, 1].message
    assert (0, 0) not in outcome.failed or outcome.failed[0, 0].code == "worker_lost"
    assert Scheduler(executor, policy=FAST).run(work).is_complete


def test_the_cluster_itself_may_die_and_comes_back(tmp_path, executor):
    x = images(24)
    work = make_work(tmp_path, x)
    slowed = FailingExecutor(executor, tmp_path / "table", pause_s=0.05)
    reasons = []
    died = threading.Event()

    def observe(progress):
        reasons.append(progress.waiting_reason)
        if progress.done >= 3 and not died.is_set():
            died.set()
            threading.Thread(target=executor._cluster.close).start()

    outcome = Scheduler(slowed, policy=FAST).run(work, observe)
    assert died.is_set()
    assert outcome.is_complete
    check(work, x)


def test_several_threads_use_one_executor_at_once(tmp_path, executor):
    sets = [images(8, seed=seed) for seed in range(3)]
    works = [make_work(tmp_path / str(number), x) for number, x in enumerate(sets)]
    outcomes = {}

    def run(number):
        outcomes[number] = Scheduler(executor, priority=number).run(works[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcomes[number].is_complete for number in range(3))
    for work, x in zip(works, sets, strict=True):
        check(work, x)


def test_stopping_drops_what_waits(tmp_path, executor):
    work = make_work(tmp_path, images(40), block_size=2)
    slowed = FailingExecutor(executor, tmp_path / "table", pause_s=0.1)
    began = []

    def should_stop():
        began.append(time.monotonic())
        return len(began) > 5

    outcome = Scheduler(slowed, policy=FAST).run(work, should_stop=should_stop)
    assert outcome.stopped
    assert outcome.done < outcome.total


def test_a_scheduler_that_is_not_there_is_an_outage_with_its_address(monkeypatch):
    monkeypatch.setattr("gramserve.blocks.cluster._CONNECT_SECONDS", 1)
    executor = DaskExecutor("tcp://127.0.0.1:9", workers=1)
    with (
        pytest.raises(WorkerLostError, match=r"tcp://127\.0\.0\.1:9 does not answer") as caught,
        executor.session() as session,
    ):
        session.submit(None)
    assert caught.value.context["outage"] is True
    executor.close()


def test_a_stopped_run_waits_for_what_workers_have_begun_and_takes_back_the_rest(
    tmp_path, executor
):
    work = make_work(tmp_path, images(40), block_size=4)
    table = FailureTable(tmp_path / "table")
    slowed = FailingExecutor(executor, table.folder, pause_s=0.3)
    seen = []

    def should_stop():
        return bool(seen) and seen[-1].done >= 3

    outcome = Scheduler(slowed, policy=FAST).run(
        work, seen.append, should_stop, should_leave=lambda: False
    )
    assert outcome.stopped
    attempts = [block for block, _ in table.attempts()]
    # Every block that a worker began is stored and reported; the others were never begun.
    assert set(attempts) == set(work.stored_blocks())
    assert outcome.done == len(set(attempts)) < outcome.total
    assert {result.block for progress in seen for result in progress.results} == set(attempts)
    rest = Scheduler(executor, policy=FAST).run(work)
    assert rest.is_complete
    assert rest.reused == outcome.done
