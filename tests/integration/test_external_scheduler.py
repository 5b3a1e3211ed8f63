"""Any Dask scheduler by its address: workers that come late, a scheduler that dies."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import pytest
from gram_work import KERNEL, images, make_work, read_grams
from service_app import running_service, small_images

from gramserve.blocks import Policy, Scheduler, open_executor
from gramserve.compute import compute_gram

pytestmark = pytest.mark.usefixtures("lost_connections")

SOON = Policy(backoff_s=0.05, outage_wait_s=0.2)
NTK = {**KERNEL, "kernel": "ntk"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A Dask scheduler and its workers, as processes of their own."""

    def __init__(self):
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._processes = []

    def _start(self, module, *words):
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths}
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def start_scheduler(self):
        port = str(self.port)
        return self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"
        )

    def start_worker(self):
        words = ("--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        return self._start("dask_worker", self.address, *words, "--death-timeout", "30")

    def stop(self):
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def cluster():
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def executor(cluster):
    executor = open_executor(cluster.address)
    yield executor
    executor.close()


class Watch:
    """Remembers progress, and does something once when it has come far enough."""

    def __init__(self, wanted, then):
        self.reasons, self._wanted, self._then = [], wanted, then

    def __call__(self, progress):
        self.reasons.append(progress.waiting_reason)
        if self._then is not None and self._wanted(progress):
            then, self._then = self._then, None
            then()


def expected(x):
    return compute_gram(x, kernel=NTK)


def test_a_job_says_that_no_worker_is_there_and_goes_on_when_one_comes(tmp_path, cluster, executor):
    cluster.start_scheduler()
    x = images(9)
    work = make_work(tmp_path, x, kernel=NTK)
    watch = Watch(lambda progress: progress.waiting_reason, cluster.start_worker)
    outcome = Scheduler(executor, policy=SOON).run(work, watch)
    assert outcome.is_complete
    assert any(reason and "no worker" in reason for reason in watch.reasons)
    assert watch.reasons[-1] is None
    assert executor.slots == 1
    np.testing.assert_allclose(read_grams(work)["ntk"], expected(x), rtol=3e-6)


def test_two_jobs_survive_the_death_of_the_scheduler(tmp_path, cluster, executor):
    first = [cluster.start_scheduler(), cluster.start_worker()]

    def kill_and_restart():
        for process in first:
            process.kill()
            process.wait()
        cluster.start_scheduler()
        cluster.start_worker()

    jobs = [images(20, seed=seed) for seed in (0, 1)]
    works = [
        make_work(tmp_path / str(number), x, kernel=NTK, block_size=2)
        for number, x in enumerate(jobs)
    ]
    outcomes = {}
    watch = Watch(lambda progress: progress.done >= 5, kill_and_restart)

    def run(number):
        observer = watch if number == 0 else lambda _: None
        outcomes[number] = Scheduler(executor, policy=SOON).run(works[number], observer)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, x in enumerate(jobs):
        assert outcomes[number].is_complete
        np.testing.assert_allclose(read_grams(works[number])["ntk"], expected(x), rtol=3e-6)


def test_closing_the_executor_under_a_job_sets_no_block_aside(tmp_path, cluster, executor):
    cluster.start_scheduler()
    cluster.start_worker()
    work = make_work(tmp_path, images(30), kernel=NTK, block_size=2)
    stop = threading.Event()

    def close():
        executor.close()
        # Long enough for every attempt that the policy allows at what was in flight.
        threading.Timer(1.5, stop.set).start()

    watch = Watch(lambda progress: progress.done >= 5, close)
    outcome = Scheduler(executor, policy=SOON).run(work, watch, stop.is_set)
    assert outcome.stopped
    assert outcome.failed == {}
    assert 5 <= outcome.done < outcome.total


@pytest.fixture
def silent_address():
    """A port that listens and never answers, as behind a firewall: connecting takes its time."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"tcp://127.0.0.1:{silent.getsockname()[1]}"


def test_counting_workers_never_waits_for_a_scheduler_that_is_silent(silent_address):
    executor = open_executor(silent_address)
    counts = []
    callers = [threading.Thread(target=lambda: counts.append(executor.slots)) for _ in range(40)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert counts == [0] * 40
    assert executor._counting.is_alive()  # still connecting: nobody waited for its end
    executor.close()


async def test_a_silent_scheduler_holds_up_no_plan_no_row_and_no_probe(tmp_path, silent_address):
    x = small_images(16)
    async with running_service(tmp_path) as service:
        done = await service.compute(x)
    async with running_service(tmp_path, scheduler_address=silent_address) as service:
        executor = service.state.executor
        other = await service.upload(small_images(24)[16:])
        waits = await service.submit(other, block_size=4)
        body = {"dataset": done["dataset"], "kernel": "myrtle5"}
        plans = [service.http.post("/v1/plans", json=body) for _ in range(20)]
        answers = await asyncio.gather(*plans, service.http.get("/readyz"))
        assert [answer.status_code for answer in answers] == [200] * 21
        assert (await service.rows(done["gram"])).shape == (16, 16)
        assert executor._counting.is_alive()  # all this while it was still connecting
        assert (await service.job(waits))["state"] in {"queued", "planning", "running"}
        await service.http.delete(f"/v1/jobs/{waits['id']}")
