"""The scheduler with the loop executor: real items, real engine, real stores."""

import threading
from collections import Counter

import numpy as np
import pytest
from failing_executor import FailingExecutor
from gram_work import KERNEL, FailureTable, images, make_work, read_grams

from gramserve.blocks import (
    LoopExecutor,
    Policy,
    Recipe,
    Scheduler,
    Shares,
    evaluate_rows,
    open_executor,
)
from gramserve.compute import compute_gram
from gramserve.errors import InvalidDataError, StoreMismatchError
from gramserve.store import GramStore

FAST = Policy(backoff_s=0.01, outage_wait_s=0.05)


def run(work, executor=None, **options):
    return Scheduler(executor or LoopExecutor(), policy=FAST).run(work, **options)


@pytest.mark.parametrize("block_size", [1, 3, 4, 9, 50])
def test_any_block_size_gives_the_same_matrix(tmp_path, block_size):
    x = images(9)
    work = make_work(tmp_path, x, block_size=block_size)
    outcome = run(work)
    assert outcome.is_complete
    assert outcome.total == work.grid.block_count
    expected = compute_gram(x, kernel=KERNEL)
    for name, gram in read_grams(work).items():
        assert np.array_equal(gram, gram.T)
        np.testing.assert_allclose(gram, expected[name], rtol=3e-6)


def test_rows_and_columns_of_two_data_sets(tmp_path):
    x, y = images(7), images(5, seed=1)
    work = make_work(tmp_path, x, y, block_size=3)
    assert run(work).total == 6
    expected = compute_gram(x, y, kernel=KERNEL)
    for name, gram in read_grams(work).items():
        np.testing.assert_allclose(gram, expected[name], rtol=3e-6)


def test_a_second_run_computes_nothing(tmp_path):
    work = make_work(tmp_path, images(9))
    table = FailureTable(tmp_path / "table")
    assert run(work).reused == 0
    again = run(work, FailingExecutor(LoopExecutor(), table.folder))
    assert again.done == again.reused == again.total == 6
    assert table.attempts() == []


def test_two_kernels_share_what_one_of_them_has(tmp_path):
    x = images(6)
    one = make_work(tmp_path, x, kernel={**KERNEL, "kernel": "ntk"})
    run(one)
    before = GramStore.open(one.grams[0][1]).read()
    both = make_work(tmp_path, x)
    assert run(both).is_complete
    grams = read_grams(both)
    assert np.array_equal(grams["ntk"], before)
    np.testing.assert_allclose(grams["nngp"], compute_gram(x, kernel=KERNEL)["nngp"], rtol=3e-6)


def test_stopping_keeps_what_is_stored_and_going_on_computes_the_rest(tmp_path):
    x = images(12)
    work = make_work(tmp_path, x)
    seen = []
    stopped = run(work, observer=seen.append, should_stop=lambda: bool(seen) and seen[-1].done >= 4)
    assert stopped.stopped
    assert 4 <= stopped.done < stopped.total
    table = FailureTable(tmp_path / "table")
    rest = run(work, FailingExecutor(LoopExecutor(), table.folder))
    assert rest.reused == stopped.done
    assert len(table.attempts()) == rest.total - rest.reused
    np.testing.assert_allclose(
        read_grams(work)["ntk"], compute_gram(x, kernel=KERNEL)["ntk"], rtol=3e-6
    )


def test_progress_tells_every_block_once(tmp_path):
    work = make_work(tmp_path, images(10))
    seen = []
    outcome = run(work, observer=seen.append)
    blocks = [result.block for progress in seen for result in progress.results]
    assert sorted(blocks) == sorted(work.grid.blocks())
    assert seen[-1].done == outcome.total
    assert seen[-1].entries == work.grid.entry_count
    provenance = seen[-1].results[0]
    assert provenance.engine == "cpu"
    assert ":" in provenance.worker
    assert len(provenance.checksums) == 2


def test_failures_are_tried_again_and_hopeless_blocks_are_set_aside(tmp_path):
    x = images(12)
    work = make_work(tmp_path, x)
    table = FailureTable(tmp_path / "table")
    table.plan((0, 1), 2)
    table.plan((1, 1), 99)
    table.plan((0, 2), 1, "hopeless")
    outcome = run(work, FailingExecutor(LoopExecutor(), table.folder))
    assert set(outcome.failed) == {(1, 1), (0, 2)}
    assert outcome.failed[0, 2].message == "injected NaN"
    assert outcome.done == 4
    assert not outcome.is_complete
    attempts = Counter(block for block, _ in table.attempts())
    assert attempts == {(0, 0): 1, (0, 1): 3, (0, 2): 1, (1, 1): 3, (1, 2): 1, (2, 2): 1}
    assert GramStore.open(work.grams[0][1]).stored_blocks() == set(work.grid.blocks()) - set(
        outcome.failed
    )
    repaired = run(work)
    assert repaired.is_complete
    assert repaired.reused == 4


def test_a_full_disk_pauses_says_so_and_goes_on(tmp_path):
    work = make_work(tmp_path, images(9))
    table = FailureTable(tmp_path / "table")
    table.plan((0, 1), 3, "full")
    seen = []
    outcome = run(work, FailingExecutor(LoopExecutor(), table.folder), observer=seen.append)
    assert outcome.is_complete
    assert "no space left (injected)" in {progress.waiting_reason for progress in seen}
    assert seen[-1].waiting_reason is None


def test_overflow_fails_the_block_and_names_layer_and_remedy(tmp_path):
    x = images(4)
    x[3] *= 1e15
    kernel = {"layers": [{"type": "conv", "size": 1}, {"type": "square"}, {"type": "flatten"}]}
    work = make_work(tmp_path, x, kernel=kernel, block_size=2)
    outcome = run(work)
    assert set(outcome.failed) == {(0, 1), (1, 1)} or set(outcome.failed) == {(1, 1)}
    failure = outcome.failed[1, 1]
    assert failure.code == "non_finite_kernel"
    assert "layers[1] (square)" in failure.message
    assert "float64" in failure.message
    assert (0, 0) in GramStore.open(work.grams[0][1]).stored_blocks()


def test_a_path_that_holds_another_matrix_is_refused(tmp_path):
    make_work(tmp_path, images(4))
    with pytest.raises(StoreMismatchError, match="dataset"):
        make_work(tmp_path, images(4, seed=9))


def test_variances_are_computed_once_for_all_kernels_and_block_sizes(tmp_path):
    x = images(6)
    first = make_work(tmp_path, x, kernel={**KERNEL, "kernel": "ntk"}, block_size=4)
    assert first.missing_variances()
    run(first)
    assert make_work(tmp_path, x, kernel={**KERNEL, "kernel": "nngp"}).missing_variances() == []


@pytest.mark.parametrize("panel", [2, 100])
def test_rows_of_new_items_are_those_of_the_whole_matrix(tmp_path, panel):
    x, new = images(7), images(5, seed=2)
    work = make_work(tmp_path / "state", x)
    recipe = Recipe(work.recipe.spec.for_output("ntk"), "float32", "reference", 2**28)
    pieces = evaluate_rows(
        LoopExecutor(),
        recipe,
        scratch=tmp_path / "scratch",
        items=new,
        columns=work.places[0],
        column_count=len(x),
        panel=panel,
    )
    expected = compute_gram(new, x, kernel=KERNEL)["ntk"]
    np.testing.assert_allclose(np.concatenate(list(pieces)), expected, rtol=3e-6)


def test_new_items_that_are_not_finite_are_refused(tmp_path):
    work = make_work(tmp_path / "state", images(3))
    recipe = Recipe(work.recipe.spec.for_output("ntk"), "float32", "reference", 2**28)
    pieces = evaluate_rows(
        LoopExecutor(),
        recipe,
        scratch=tmp_path / "scratch",
        items=np.full((1, 8, 8, 2), np.nan),
        columns=work.places[0],
        column_count=3,
        panel=4,
    )
    with pytest.raises(InvalidDataError, match="item 0"):
        next(pieces)


def test_the_loop_executor_needs_no_dask():
    assert isinstance(open_executor(workers=0), LoopExecutor)


def test_preferred_blocks_are_computed_next_and_every_block_once(tmp_path):
    work = make_work(tmp_path, images(24), kernel={**KERNEL, "kernel": "nngp"})
    table = FailureTable(tmp_path / "table")
    scheduler = Scheduler(
        FailingExecutor(LoopExecutor(), table.folder),
        policy=Policy(target_task_s=0.001, max_group=1),
    )
    wanted = [(3, 5), (5, 5), (0, 0), (9, 9), (4, 2)]  # the last three: out, outside, a mirror

    def observer(progress):
        if progress.done == 1:
            scheduler.prefer(wanted)

    assert scheduler.run(work, observer).is_complete
    order = [block for block, _ in table.attempts()]
    assert sorted(order) == sorted(work.grid.blocks())
    assert set(order[:5]) >= {(3, 5), (5, 5)}  # a window of others was out already
    assert scheduler.stored == set(work.grid.blocks())


def test_two_runs_share_one_window_and_both_finish(tmp_path):
    works = [make_work(tmp_path / str(seed), images(16, seed=seed)) for seed in (0, 1)]
    shares, outcomes = Shares(), {}

    def run_one(number):
        scheduler = Scheduler(
            LoopExecutor(), policy=FAST, priority=10 * number, user=str(number), shares=shares
        )
        outcomes[number] = scheduler.run(works[number])

    threads = [threading.Thread(target=run_one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcomes[number].is_complete for number in range(2))
