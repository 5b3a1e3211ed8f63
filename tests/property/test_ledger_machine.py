"""The ledger under any order of events: nothing is handed out twice, nothing is lost."""

from collections import Counter

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

from gramserve.blocks import Failure, Ledger, Policy

POLICY = Policy(max_attempts=3, backoff_s=1.0, outage_wait_s=5.0, target_task_s=4.0, max_group=3)
ONCE_MORE = Failure("block", "may go away")
HOPELESS = Failure("non_finite_kernel", "stays", retryable=False)
OUTAGE = Failure("storage_full", "no space left", is_outage=True)


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside a model that remembers everything."""

    @initialize(panels=st.lists(st.integers(1, 5), min_size=1, max_size=4), slots=st.integers(1, 3))
    def begin(self, panels, slots):
        self.blocks = [(i, j) for i, width in enumerate(panels) for j in range(width)]
        self.ledger = Ledger(iter(self.blocks), len(self.blocks), slots, POLICY)
        self.slots = slots
        self.now = 0.0
        self.groups = []
        self.out, self.stored, self.aside = set(), set(), {}
        self.failures = Counter()

    @rule()
    def hand_out(self):
        group = self.ledger.next_group(self.now)
        if group is None:
            return
        assert 1 <= len(group) <= POLICY.max_group
        assert len({i for i, _ in group}) == 1
        assert len(set(group)) == len(group)
        assert not set(group) & (self.out | self.stored | self.aside.keys())
        assert set(group) <= set(self.blocks)
        self.out |= set(group)
        self.groups.append(list(group))
        assert len(self.groups) <= max(self.slots, 1) * POLICY.window_per_slot

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def end_a_task(self, data):
        """A task comes back: each of its blocks is stored or failed, in one way or another."""
        group = self.groups.pop(data.draw(st.integers(0, len(self.groups) - 1)))
        self.ledger.book_task_ended()
        ways = st.sampled_from([None, None, ONCE_MORE, HOPELESS, OUTAGE])
        good = []
        for block in group:
            failure = data.draw(ways)
            if failure is None:
                good.append(block)
            else:
                self._fail(block, failure)
        self.ledger.book_stored(good, data.draw(st.floats(0, 10)))
        self.out -= set(good)
        self.stored |= set(good)

    def _fail(self, block, failure):
        self.ledger.book_failed(block, failure, self.now)
        self.out.discard(block)
        self.failures[block] += not failure.is_outage
        if not failure.is_outage and (
            not failure.retryable or self.failures[block] >= POLICY.max_attempts
        ):
            self.aside[block] = failure

    @precondition(lambda self: self.stored or self.aside)
    @rule(data=st.data())
    def hear_of_a_block_twice(self, data):
        """A late twin of a task reports what is settled: that changes nothing."""
        block = data.draw(st.sampled_from(sorted(self.stored | self.aside.keys())))
        if data.draw(st.booleans()):
            self.ledger.book_stored([block], 1.0)
        else:
            self.ledger.book_failed(block, ONCE_MORE, self.now)

    @rule(seconds=st.floats(0, 10))
    def let_time_pass(self, seconds):
        self.now += seconds

    @rule(slots=st.integers(0, 4))
    def count_workers(self, slots):
        # Groups that are out stay out; a narrower window only holds back the next ones.
        self.ledger.set_slots(slots)
        self.slots = max(slots, self.slots)

    @invariant()
    def counts_add_up(self):
        ledger = self.ledger
        assert ledger.in_flight == len(self.out)
        assert ledger.stored == len(self.stored)
        assert ledger.set_aside == self.aside
        settled = len(self.stored) + len(self.aside)
        assert ledger.is_finished == (settled == len(self.blocks))
        due = ledger.next_due(self.now)
        assert due is None or due >= 0

    def teardown(self):
        """From wherever it is, the ledger comes to an end in which every block is settled."""
        for group in self.groups:
            self.ledger.book_task_ended()
            self.ledger.book_stored(group, 1.0)
            self.stored |= set(group)
        self.groups, self.out = [], set()
        while not self.ledger.is_finished:
            self.now += 10
            self.hand_out()
            assert self.groups, "blocks are left that are never handed out"
            group = self.groups.pop()
            self.ledger.book_task_ended()
            self.ledger.book_stored(group, 1.0)
            self.out -= set(group)
            self.stored |= set(group)
        assert self.stored | self.aside.keys() == set(self.blocks)
        assert not self.stored & self.aside.keys()


def test_nothing_is_handed_out_twice_and_nothing_is_lost():
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
