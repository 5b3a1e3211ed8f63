"""The work of a job: what is missing, and errors that keep their class on the way out."""

from pathlib import Path

import numpy as np
import pytest
from gram_work import KERNEL, images, make_work, read_grams

from gramserve.blocks import Ledger, LoopExecutor, Policy, Recipe, Scheduler, evaluate_rows
from gramserve.compute import compute_gram
from gramserve.errors import NonFiniteKernelError


def test_a_data_set_against_itself_has_its_variances_made_once(tmp_path):
    x = images(6)
    work = make_work(tmp_path, x, x)
    assert work.places[0] == work.places[1]
    assert work.missing_variances() == [(0, 0)]
    assert Scheduler(LoopExecutor()).run(work).is_complete
    expected = compute_gram(x, x, kernel=KERNEL)
    for name, gram in read_grams(work).items():
        np.testing.assert_allclose(gram, expected[name], rtol=3e-6)


def test_both_of_two_data_sets_have_variances(tmp_path):
    work = make_work(tmp_path, images(6), images(5, seed=1))
    assert work.missing_variances() == [(0, 0), (1, 0)]


def test_what_a_dead_writer_left_is_gone_when_work_is_taken_up_again(tmp_path):
    x = images(6)
    work = make_work(tmp_path, x)
    assert Scheduler(LoopExecutor()).run(work).is_complete
    blocks = Path(work.grams[0][1]) / "c" / "0"
    left = blocks / "1.0123456789abcdef.partial"
    left.write_bytes(b"half a block")
    before = sorted(blocks.iterdir())
    assert make_work(tmp_path, x) == work
    assert sorted(blocks.iterdir()) == [path for path in before if path != left]


def test_new_items_that_overflow_are_named_as_such(tmp_path):
    work = make_work(tmp_path / "state", images(3))
    pieces = evaluate_rows(
        LoopExecutor(),
        Recipe(work.recipe.spec.for_output("ntk"), "float32", "reference", 2**28),
        scratch=tmp_path / "scratch",
        items=images(1) * np.float32(1e25),
        columns=work.places[0],
        column_count=3,
        panel=4,
    )
    with pytest.raises(NonFiniteKernelError, match="item 0"):
        next(pieces)


def test_the_window_follows_the_workers():
    book = Ledger([(0, j) for j in range(20)], 20, 1, Policy(window_per_slot=2))
    assert [book.next_group(0.0) is not None for _ in range(3)] == [True, True, False]
    book.set_slots(3)
    assert [book.next_group(0.0) is not None for _ in range(5)] == [True] * 4 + [False]
    book.set_slots(0)  # all gone: what is out stays out, nothing more is handed out
    assert book.next_group(0.0) is None
    assert book.in_flight == 6
