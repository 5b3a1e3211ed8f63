"""Shares of the workers: proportions, turns, and nobody left waiting."""

import threading
from contextlib import ExitStack

import pytest

from gramserve.blocks import Shares


class Clock:
    """Seconds that only tests move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Run:
    """A run that always has something to hand out."""

    def __init__(self, stack, shares, user, priority=0, seconds=1.0):
        self.wakes, self.work, self.seconds = 0, 0.0, seconds
        self.out = []
        self.share = stack.enter_context(shares.join(user, priority, self.wake))

    def wake(self):
        self.wakes += 1

    def step(self, capacity, *, urgent=False):
        if self.share.take(capacity, urgent=urgent):
            self.out.append(self.share.spend(None))
            return True
        return False

    def end_one(self):
        self.share.give_back(self.out.pop(), self.seconds)
        self.work += self.seconds


def drive(runs, capacity, tasks):
    """Hand out and end tasks in the order of their hand-out until so many have ended."""
    waiting = []
    for _ in range(tasks):
        moved = True
        while moved:
            moved = False
            for run in runs:
                while run.step(capacity):
                    waiting.append(run)
                    moved = True
        waiting.pop(0).end_one()
    return [run.work for run in runs]


@pytest.fixture
def shares():
    return Shares(Clock())


def test_equal_runs_get_equal_time_whatever_the_size_of_their_tasks(shares):
    with ExitStack() as stack:
        runs = [Run(stack, shares, "ann", seconds=1.0), Run(stack, shares, "bob", seconds=10.0)]
        small, large = drive(runs, 4, 600)
        assert small == pytest.approx(large, rel=0.1)


def test_ten_more_of_priority_is_twice_the_time(shares):
    with ExitStack() as stack:
        runs = [Run(stack, shares, user, priority) for user, priority in [("a", 10), ("b", 0)]]
        high, low = drive(runs, 4, 600)
        assert high / low == pytest.approx(2.0, rel=0.05)


def test_users_share_equally_however_many_runs_they_have(shares):
    with ExitStack() as stack:
        many = [Run(stack, shares, "ann") for _ in range(5)]
        one = Run(stack, shares, "bob")
        *works, other = drive([*many, one], 6, 900)
        assert sum(works) == pytest.approx(other, rel=0.1)
        assert max(works) == pytest.approx(min(works), rel=0.1)


def test_a_newcomer_begins_at_the_present_and_saves_nothing_up(shares):
    with ExitStack() as stack:
        first = Run(stack, shares, "ann")
        drive([first], 2, 500)
        second = Run(stack, shares, "bob")
        before = first.work
        drive([first, second], 2, 200)
        assert first.work - before == pytest.approx(second.work, rel=0.1)


def test_urgent_tasks_go_before_all_others_and_are_charged(shares):
    with ExitStack() as stack:
        ann, bob = Run(stack, shares, "ann"), Run(stack, shares, "bob")
        drive([ann], 1, 50)  # bob has waited for long
        bob.share.take(1)  # and asks again
        ann.end_one() if ann.out else None
        assert ann.step(2, urgent=True)
        assert ann.share.clock > bob.share.clock


def test_the_window_is_one_for_all(shares):
    with ExitStack() as stack:
        runs = [Run(stack, shares, str(number)) for number in range(5)]
        for _ in range(3):
            for run in runs:
                run.step(4)
        assert sum(len(run.out) for run in runs) == 4


def test_who_does_not_take_its_turn_is_passed_over():
    clock = Clock()
    shares = Shares(clock)
    with ExitStack() as stack:
        slow, quick = Run(stack, shares, "ann"), Run(stack, shares, "bob")
        assert slow.share.take(1)
        charged = slow.share.spend(0.0)
        assert not quick.step(1)
        assert not slow.share.take(1)  # asks, and is never heard of again
        slow.share.give_back(charged, 0.0)
        assert not quick.step(1)  # it is the other's turn
        clock.now += 1.5
        assert quick.step(1)


def test_what_a_run_had_out_is_free_when_it_leaves(shares):
    with ExitStack() as outer:
        stays = Run(outer, shares, "ann")
        with ExitStack() as inner:
            leaves = Run(inner, shares, "bob")
            assert leaves.step(1)
            assert not stays.step(1)
        assert stays.wakes
        assert stays.step(1)


def test_many_threads_never_have_more_out_than_the_window():
    shares, most, lock = Shares(), [0, 0], threading.Lock()

    def work(user):
        rung = threading.Event()
        with shares.join(user, 0, rung.set) as share:
            for _ in range(200):
                while not share.take(3):
                    rung.wait(0.01)
                    rung.clear()
                charged = share.spend(0.001)
                with lock:
                    most[0] += 1
                    most[1] = max(most)
                with lock:
                    most[0] -= 1
                share.give_back(charged, 0.001)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[1] <= 3
