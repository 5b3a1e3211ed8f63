"""The table of jobs against a model in memory, under any order of requests."""

import asyncio
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from catalog_seeds import add_gram, add_job, open_dispatcher
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gramserve.catalog import HELD_STATES, TRANSITIONS, Catalog
from gramserve.errors import IllegalTransitionError
from gramserve.spec.status import JOB_STATES, TERMINAL_STATES

NUMBERS = st.integers(0, 839)


@dataclass
class Expected:
    """What a job should be."""

    number: int
    priority: int
    state: str = "queued"
    epoch: int = 0
    done: int = 0
    transitions: int = 1

    def move(self, state: str) -> None:
        self.state = state
        self.epoch += state in {"queued", "planning"}
        self.transitions += 1


class JobTable(RuleBasedStateMachine):
    """Requests, dispatchers and restarts in any order; nothing may disagree with the model."""

    @initialize()
    def open(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "catalog.sqlite"
        self.runner = asyncio.Runner()
        self.model: dict[str, Expected] = {}
        self.catalog = self.run(Catalog.open(self.path))
        self.run(add_gram(self.catalog))
        self.dispatcher = self.run(open_dispatcher(self.catalog))
        for priority in (0, 1, 0):
            self.submit(priority)

    def run(self, work):
        return self.runner.run(work)

    def pick(self, number):
        return list(self.model.items())[number % len(self.model)]

    @rule(priority=st.integers(-1, 1))
    def submit(self, priority):
        job = self.run(add_job(self.catalog, priority=priority))
        self.model[job.id] = Expected(len(self.model), priority)

    @rule()
    def claim(self):
        queued = {id_: job for id_, job in self.model.items() if job.state == "queued"}
        claimed = self.run(self.catalog.claim_next(dispatcher=self.dispatcher))
        if not queued:
            assert claimed is None
            return
        wanted = min(queued, key=lambda id_: (-queued[id_].priority, queued[id_].number))
        assert claimed is not None
        assert claimed.id == wanted
        self.model[wanted].move("planning")
        assert claimed.epoch == self.model[wanted].epoch

    @rule(number=NUMBERS, to=NUMBERS, legal=st.booleans(), behind=st.sampled_from([0, 0, 1, None]))
    def transition(self, number, to, legal, behind):
        job, expected = self.pick(number)
        following = sorted(TRANSITIONS[expected.state] - {"planning"})
        choice = following if legal and following else JOB_STATES
        to_state = choice[to % len(choice)]
        epoch = None if behind is None else expected.epoch - behind
        try:
            self.run(self.catalog.transition(job, to_state, epoch=epoch))
        except IllegalTransitionError:
            assert to_state not in following or behind == 1
        else:
            assert to_state in following
            assert behind != 1
            expected.move(to_state)

    @rule(number=NUMBERS)
    def cancel(self, number):
        job, expected = self.pick(number)
        try:
            state = self.run(self.catalog.cancel_job(job)).state
        except IllegalTransitionError:
            assert expected.state in {"succeeded", "failed"}
            return
        if expected.state not in {"cancelling", "cancelled"}:
            expected.move("cancelling" if expected.state in HELD_STATES else "cancelled")
        assert state == expected.state

    @rule(number=NUMBERS)
    def resume(self, number):
        job, expected = self.pick(number)
        try:
            self.run(self.catalog.resume_job(job))
        except IllegalTransitionError:
            assert expected.state != "paused"
        else:
            assert expected.state == "paused"
            expected.move("queued")

    @rule(number=NUMBERS, behind=st.booleans(), done=st.integers(0, 9))
    def report(self, number, behind, done):
        job, expected = self.pick(number)
        written = self.run(
            self.catalog.record_progress(
                job, expected.epoch - behind, done=done, reused=0, failed=0, total=9
            )
        )
        assert written == (not behind and expected.state not in TERMINAL_STATES)
        if written:
            expected.done = done

    @rule()
    def restart(self):
        self.run(self.catalog.close())
        self.catalog = self.run(Catalog.open(self.path))
        moved = {job.id for job in self.run(self.catalog.requeue_interrupted())}
        assert moved == {id_ for id_, job in self.model.items() if job.state in HELD_STATES}
        for id_ in moved:
            job = self.model[id_]
            job.move("cancelled" if job.state == "cancelling" else "queued")
        self.dispatcher = self.run(open_dispatcher(self.catalog))

    @invariant()
    def agrees(self):
        found = self.run(self.catalog.jobs(limit=1000))
        assert {job.id for job in found} == set(self.model)
        for job in found:
            expected = self.model[job.id]
            assert (job.state, job.epoch) == (expected.state, expected.epoch)
            assert job.blocks_done == expected.done
            assert (job.finished is not None) == (job.state in TERMINAL_STATES)
            assert (job.dispatcher is not None) == (job.state in HELD_STATES)
            assert job.dispatcher in {None, self.dispatcher}
            events = self.run(self.catalog.events_after(job.id))
            moves = [event.data for event in events if event.kind == "state"]
            assert len(moves) == expected.transitions
            assert moves[-1]["state"] == job.state
            assert all(a["state"] == b["from"] for a, b in pairwise(moves))
            if job.state in TERMINAL_STATES:
                assert len(events) - len(moves) <= 1

    def teardown(self):
        self.run(self.catalog.close())
        self.runner.close()
        self.directory.cleanup()


TestJobTable = JobTable.TestCase
TestJobTable.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
