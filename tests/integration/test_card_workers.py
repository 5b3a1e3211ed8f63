"""Workers for cards, which need not be there: processes that see what they are told to see."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gramserve.arrays import Card
from gramserve.blocks import LoopExecutor, open_executor
from gramserve.blocks.card_workers import cards_for
from gramserve.blocks.cluster import DaskExecutor
from gramserve.errors import DeviceLostError

pytestmark = pytest.mark.usefixtures("lost_connections")

CARDS = ("3", "GPU-5f2c")


@dataclass(frozen=True)
class Sees:
    """A task that tells which card its process sees."""

    number: int

    def run(self):
        time.sleep(0.05)
        return os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid(), os.environ["OMP_NUM_THREADS"]


@dataclass(frozen=True)
class LosesDevice:
    """A task whose process loses its card, if it is the first to run it."""

    mark: str

    def run(self):
        try:
            Path(self.mark).touch(exist_ok=False)
        except FileExistsError:
            return Sees(0).run()
        raise DeviceLostError("an illegal address was read")


def seen(executor, count=8):
    found = []
    with executor.session() as session:
        for number in range(count):
            session.submit(Sees(number))
        while len(found) < count:
            found += [each.result for each in session.poll(20)]
    return found


def test_every_card_has_a_process_of_one_thread_that_sees_it_alone(tmp_path):
    executor = DaskExecutor(cards=CARDS, workers=7, threads=3)
    try:
        assert executor.slots == 2
        found = seen(executor)
        assert {card for card, *_ in found} == set(CARDS)
        assert len({pid for _, pid, _ in found}) == 2
        assert {threads for *_, threads in found} == {"1"}
        assert set(executor.client().nthreads().values()) == {1}
        # A process that has lost its card is started again, for the same one, and the task too.
        with executor.session() as session:
            session.submit(LosesDevice(str(tmp_path / "lost")))
            while not (ended := session.poll(20)):
                pass
        assert ended[0].error is None
        assert ended[0].result[0] in CARDS
        executor.client().wait_for_workers(2, timeout=60)
        again = seen(executor, 20)
        assert {card for card, *_ in again} == set(CARDS)
        assert len({pid for _, pid, _ in found + again}) == 3
    finally:
        executor.close()


def test_engines_without_cards_have_no_workers_for_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert [cards_for(engine) for engine in ("cpu", "reference", "auto", "cuda")] == [()] * 4
    assert isinstance(open_executor(workers=0, engine="cuda"), LoopExecutor)


@pytest.mark.parametrize(
    ("engine", "slots"), [("auto", 2), ("cuda", 2), ("cpu", 6), ("reference", 6)]
)
def test_workers_are_counted_in_cards_where_the_engine_uses_them(monkeypatch, engine, slots):
    cards = [Card(number, "a card", str(number)) for number in range(2)]
    monkeypatch.setattr("gramserve.blocks.card_workers.find_cards", lambda: cards)
    executor = open_executor(workers=3, threads=2, engine=engine)
    assert executor.slots == slots
    executor.close()
