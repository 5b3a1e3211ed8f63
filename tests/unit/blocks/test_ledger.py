"""The ledger: single steps, and a state machine over any order of events."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gramserve.blocks.ledger import Failure, Ledger, Policy
from gramserve.plan import BlockMap, Grid

BROKEN = Failure("block", "broken")
HOPELESS = Failure("non_finite_kernel", "NaN", retryable=False)
FULL = Failure("storage_full", "disk full", is_outage=True)


def ledger(blocks, slots=1, **policy):
    return Ledger(iter(blocks), len(blocks), slots, Policy(**policy))


def test_the_window_bounds_what_is_handed_out():
    book = ledger([(0, j) for j in range(10)], slots=2, window_per_slot=2)
    groups = [book.next_group(0.0) for _ in range(5)]
    assert groups[:4] == [((0, 0),), ((0, 1),), ((0, 2),), ((0, 3),)]
    assert groups[4] is None
    book.book_task_ended()
    book.book_stored([(0, 0)], 1.0)
    assert book.next_group(0.0) is not None


def test_the_last_groups_go_only_where_one_can_start():
    book = ledger([(0, j) for j in range(6)], slots=2, window_per_slot=2)
    assert [book.next_group(0.0) for _ in range(3)] == [((0, 0),), ((0, 1),), None]
    for last in range(2, 6):
        book.book_stored([(0, last - 2)], 1.0)
        book.book_task_ended()
        assert book.next_group(0.0) == ((0, last),)
        assert book.next_group(0.0) is None


def test_groups_grow_to_the_target_time_and_stay_in_one_row_panel():
    blocks = [(0, j) for j in range(5)] + [(1, j) for j in range(40)]
    book = ledger(blocks, target_task_s=10, max_group=16)
    first = book.next_group(0.0)
    book.book_task_ended()
    book.book_stored(first, 1.0)  # one second a block: ten blocks a task
    assert book.next_group(0.0) == ((0, 1), (0, 2), (0, 3), (0, 4))
    assert book.next_group(0.0) == tuple((1, j) for j in range(10))


def test_the_last_blocks_are_shared_among_the_workers():
    book = ledger([(0, j) for j in range(5)], slots=2, target_task_s=100)
    first = book.next_group(0.0)
    book.book_task_ended()
    book.book_stored(first, 0.1)
    assert len(book.next_group(0.0)) == 1


def test_a_failure_is_tried_again_later_and_then_set_aside():
    book = ledger([(0, 0)], max_attempts=3, backoff_s=1.0)
    for attempt, due in enumerate([1.0, 2.0]):
        assert book.next_group(10.0 * attempt) == ((0, 0),)
        book.book_task_ended()
        book.book_failed((0, 0), BROKEN, 10.0 * attempt)
        assert book.next_group(10.0 * attempt + due - 0.01) is None
        assert book.next_due(10.0 * attempt) == pytest.approx(due)
    assert book.next_group(20.0) == ((0, 0),)
    book.book_task_ended()
    book.book_failed((0, 0), BROKEN, 20.0)
    assert book.is_finished
    assert book.set_aside == {(0, 0): BROKEN}


def test_what_cannot_get_better_is_not_tried_again():
    book = ledger([(0, 0), (0, 1)])
    book.next_group(0.0)
    book.book_failed((0, 0), HOPELESS, 0.0)
    assert book.set_aside == {(0, 0): HOPELESS}
    assert not book.is_finished


def test_an_outage_stops_everything_costs_no_attempt_and_is_probed_with_one_block():
    book = ledger([(0, j) for j in range(4)], slots=2, max_attempts=1, outage_wait_s=5.0)
    for _ in range(2):
        book.next_group(0.0)
    for j in range(2):
        book.book_task_ended()
        book.book_failed((0, j), FULL, 0.0)
    assert book.waiting_reason == "disk full"
    assert book.next_group(4.9) is None
    assert book.next_due(1.0) == pytest.approx(4.0)
    assert book.next_group(5.0) == ((0, 0),)
    assert book.next_group(5.0) is None  # one probe at a time
    book.book_task_ended()
    book.book_stored([(0, 0)], 0.1)
    assert book.waiting_reason is None
    assert book.next_group(5.0) == ((0, 1),)
    assert book.set_aside == {}


def test_preferred_blocks_go_next_and_the_others_follow_in_order():
    book = ledger([(i, j) for i in range(3) for j in range(3)], slots=9)
    assert book.next_group(0.0) == ((0, 0),)
    book.prefer([(2, 1), (1, 1), (0, 0)])  # the last one is out already
    assert book.has_preferred
    groups = [book.next_group(0.0)[0] for _ in range(4)]
    assert groups == [(2, 1), (1, 1), (0, 1), (0, 2)]
    assert not book.has_preferred
    book.prefer([(2, 1), (0, 2), (2, 2)])
    assert [book.next_group(0.0)[0] for _ in range(4)] == [(2, 2), (1, 0), (1, 2), (2, 0)]
    assert book.next_group(0.0) is None
    book.book_stored([(i, j) for i in range(3) for j in range(3)], 1.0)
    assert book.is_finished
    assert book.stored == 9


def test_the_window_holds_for_preferred_blocks_too():
    book = ledger([(0, j) for j in range(10)], slots=1, window_per_slot=2)
    for _ in range(2):
        book.next_group(0.0)
    book.prefer([(0, 9)])
    assert not book.has_due(0.0)
    assert book.next_group(0.0) is None
    book.book_task_ended()
    book.book_stored([(0, 0)], 1.0)
    assert book.next_group(0.0) == ((0, 9),)


def test_preferred_blocks_are_spread_over_the_workers():
    book = ledger([(0, j) for j in range(100)], slots=4, target_task_s=100, max_group=16)
    first = book.next_group(0.0)
    book.book_task_ended()
    book.book_stored(first, 0.01)
    book.prefer([(0, j) for j in range(90, 98)])
    assert [len(book.next_group(0.0)) for _ in range(4)] == [2, 2, 1, 1]


def test_very_many_failures_are_counted_and_not_all_kept():
    book = ledger([(0, j) for j in range(9)], slots=9, max_named=4)
    for j in range(9):
        book.next_group(0.0)
        book.book_task_ended()
        book.book_failed((0, j), HOPELESS, 0.0)
    assert book.is_finished
    assert list(book.set_aside) == [(0, j) for j in range(4)]
    assert (book.failed, book.unnamed) == (9, 5)


def test_late_and_unknown_reports_change_nothing():
    book = ledger([(0, 0)])
    book.next_group(0.0)
    book.book_stored([(0, 0)], 1.0)
    book.book_stored([(0, 0)], 1.0)
    book.book_failed((0, 0), BROKEN, 1.0)
    book.book_failed((7, 7), BROKEN, 1.0)
    assert book.stored == 1
    assert book.set_aside == {}


def test_a_million_blocks_take_no_memory_of_their_own():
    grid = Grid(10**6, 10**6, 10**3, symmetric=False)
    book = Ledger(BlockMap(grid).missing(), grid.block_count, 4)
    for _ in range(3000):
        group = book.next_group(0.0)
        book.book_task_ended()
        book.book_stored(group, 0.001)
    assert book.in_flight == 0
    assert book.stored > 3000


class LedgerMachine(RuleBasedStateMachine):
    """Any order of hand-outs, successes, failures, outages and losses."""

    def __init__(self):
        super().__init__()
        self.grid = Grid(9, 9, 2, symmetric=True)
        self.policy = Policy(max_attempts=3, backoff_s=1.0, max_group=3, outage_wait_s=2.0)
        self.book = Ledger(self.grid.blocks(), self.grid.block_count, 2, self.policy)
        self.now = 0.0
        self.groups = []
        self.stored, self.attempts = [], {}

    @rule(seconds=st.floats(0, 3))
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def hand_out(self):
        group = self.book.next_group(self.now)
        if group is not None:
            out = [block for other in self.groups for block in other]
            assert not set(group) & set(out)
            assert not set(group) & set(self.stored)
            assert len({i for i, _ in group}) == 1
            self.groups.append(group)

    @rule(data=st.data())
    def prefer(self, data):
        wanted = data.draw(st.lists(st.sampled_from(list(self.grid.blocks())), max_size=4))
        self.book.prefer(wanted)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def end_task(self, data):
        group = self.groups.pop(data.draw(st.integers(0, len(self.groups) - 1)))
        self.book.book_task_ended()
        for block in group:
            end = data.draw(st.sampled_from(["stored", "stored", "failed", "hopeless", "full"]))
            if end == "stored":
                self.book.book_stored([block], 0.5)
                self.stored.append(block)
            else:
                failure = {"failed": BROKEN, "hopeless": HOPELESS, "full": FULL}[end]
                if end != "full":
                    self.attempts[block] = self.attempts.get(block, 0) + 1
                self.book.book_failed(block, failure, self.now)

    @invariant()
    def nothing_is_lost_or_counted_twice(self):
        assert len(self.stored) == len(set(self.stored)) == self.book.stored
        assert not set(self.stored) & set(self.book.set_aside)
        assert len(self.groups) <= 2 * self.policy.window_per_slot
        assert self.book.in_flight == sum(len(group) for group in self.groups)
        assert all(count <= self.policy.max_attempts for count in self.attempts.values())

    def teardown(self):
        """From any state, patience and success end it with every block in one place."""
        for group in self.groups:
            self.book.book_task_ended()
            self.book.book_stored(group, 0.5)
            self.stored += group
        for _ in range(500):
            if self.book.is_finished:
                break
            self.now += 100
            group = self.book.next_group(self.now)
            if group is not None:
                self.book.book_task_ended()
                self.book.book_stored(group, 0.5)
                self.stored += group
        assert self.book.is_finished
        assert sorted([*self.stored, *self.book.set_aside]) == sorted(self.grid.blocks())


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
