"""The table of jobs in a real file, under any order of what people and dispatchers do."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from catalog_seeds import add_gram, add_job
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gramserve.catalog import Catalog
from gramserve.catalog.transitions import HELD_STATES, TRANSITIONS
from gramserve.errors import IllegalTransitionError
from gramserve.spec.status import TERMINAL_STATES

NEW_EPOCH = {"queued", "planning"}
COUNTS = {"done": 1, "reused": 0, "failed": 0, "total": 6}


def machine_of(empty):
    """Return the machine, whose catalogs begin as copies of an empty one."""

    class JobMachine(RuleBasedStateMachine):
        """A catalog beside a model of its jobs, and the claims that dispatchers remember."""

        @initialize()
        def begin(self):
            self.runner = asyncio.Runner()
            self.folder = tempfile.TemporaryDirectory()
            path = Path(self.folder.name) / "catalog.sqlite"
            shutil.copyfile(empty, path)
            self.catalog = self.run(Catalog.open(path))
            self.jobs = {}
            self.claims = []

        def run(self, work):
            return self.runner.run(work) if hasattr(self, "runner") else None

        @rule(priority=st.integers(-1, 1))
        def submit(self, priority):
            gram = f"{len(self.jobs):032x}"
            self.run(add_gram(self.catalog, gram))
            job = self.run(add_job(self.catalog, gram, priority=priority))
            assert (job.state, job.epoch) == ("queued", 0)
            self.jobs[job.id] = ("queued", 0)

        @rule()
        def claim(self):
            queued = {job for job, (state, _) in self.jobs.items() if state == "queued"}
            claimed = self.run(self.catalog.claim_next(lease_s=60))
            assert (claimed is None) == (not queued)
            if claimed is None:
                return
            assert claimed.id in queued
            self._moved(claimed.id, "planning", claimed)
            self.claims.append((claimed.id, claimed.epoch))

        @precondition(lambda self: self.claims)
        @rule(data=st.data(), to_state=st.sampled_from(sorted(TRANSITIONS)))
        def move_as_a_dispatcher(self, data, to_state):
            """One that may have been replaced since it claimed the job."""
            job, epoch = data.draw(st.sampled_from(self.claims))
            state, current = self.jobs[job]
            legal = to_state in TRANSITIONS[state] and to_state != "planning"
            move = self.catalog.transition(job, to_state, epoch=epoch)
            if legal and epoch == current:
                self._moved(job, to_state, self.run(move))
            else:
                with pytest.raises(IllegalTransitionError):
                    self.run(move)

        @precondition(lambda self: self.claims)
        @rule(data=st.data())
        def report_as_a_dispatcher(self, data):
            job, epoch = data.draw(st.sampled_from(self.claims))
            state, current = self.jobs[job]
            is_holder = epoch == current
            written = self.run(self.catalog.record_progress(job, epoch, **COUNTS))
            assert written == (is_holder and state not in TERMINAL_STATES)
            renewed = self.run(self.catalog.renew_lease(job, epoch, lease_s=60))
            assert renewed == (is_holder and state in HELD_STATES)
            told = self.run(self.catalog.explain_wait(job, f"{epoch}", epoch=epoch))
            assert not told or (is_holder and state not in TERMINAL_STATES)

        @precondition(lambda self: self.jobs)
        @rule(data=st.data(), what=st.sampled_from(["cancel", "pause", "resume"]))
        def move_as_people_do(self, data, what):
            job = data.draw(st.sampled_from(sorted(self.jobs)))
            state, _ = self.jobs[job]
            move = getattr(self.catalog, f"{what}_job")(job)
            if what == "cancel" and state in {"cancelling", "cancelled"}:
                assert self.run(move).state == state
                return
            to_state = {
                "cancel": "cancelling" if state in HELD_STATES else "cancelled",
                "pause": "paused",
                "resume": "queued",
            }[what]
            legal = to_state in TRANSITIONS[state]
            if legal and (what != "resume" or state == "paused"):
                self._moved(job, to_state, self.run(move))
            else:
                with pytest.raises(IllegalTransitionError):
                    self.run(move)

        @rule()
        def restart_the_server(self):
            held = {job for job, (state, _) in self.jobs.items() if state in HELD_STATES}
            moved = self.run(self.catalog.requeue_interrupted())
            assert {job.id for job in moved} == held
            for job in moved:
                state = self.jobs[job.id][0]
                self._moved(job.id, "cancelled" if state == "cancelling" else "queued", job)

        def _moved(self, job, to_state, record):
            state, epoch = self.jobs[job]
            assert to_state in TRANSITIONS[state]
            assert record.state == to_state
            assert record.epoch == epoch + (to_state in NEW_EPOCH)
            self.jobs[job] = (to_state, record.epoch)

        @invariant()
        def the_table_says_what_happened(self):
            if not hasattr(self, "catalog"):
                return
            found = {job.id: (job.state, job.epoch) for job in self.run(self.catalog.jobs())}
            assert found == self.jobs

        def teardown(self):
            for job in self.jobs:
                self._check_events(job)
            self.run(self.catalog.close())
            self.runner.close()
            self.folder.cleanup()

        def _check_events(self, job):
            """Every move left one event, and none that the table of moves does not hold."""
            state, epoch = None, 0
            for event in self.run(self.catalog.events_after(job)):
                if event.kind != "state":
                    continue
                before, after = event.data["from"], event.data["state"]
                assert before == state
                assert state is None or after == state or after in TRANSITIONS[state]
                assert event.data["epoch"] >= epoch
                state, epoch = after, event.data["epoch"]
            assert (state, epoch) == self.jobs[job]

    return JobMachine


def test_only_legal_moves_happen_and_a_stale_epoch_writes_nothing(tmp_path):
    async def make():
        async with await Catalog.open(tmp_path / "empty.sqlite"):
            pass

    asyncio.run(make())
    run_state_machine_as_test(
        machine_of(tmp_path / "empty.sqlite"),
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
