"""Plans: sizes, costs, and what does not fit."""

import re

import pytest

from gramserve.errors import MemoryBudgetError, PlanError, RowRangeError, ShapeError
from gramserve.kernels import ENGINES
from gramserve.plan import Grid, choose_block_size, make_grid, make_plan
from gramserve.spec import parse_kernel

MYRTLE = parse_kernel("myrtle5")


def plan(spec=MYRTLE, shape=(8, 8, 3), rows=100, columns=None, **changes):
    options = {
        "precision": "float32", "engine": "reference", "why_engine": "because",
        "worker_memory_bytes": 2**30, "workers": 2,
    } | changes  # fmt: skip
    asked = ENGINES["reference"].temporary_bytes(spec, shape, options["precision"])
    options.setdefault("temporary_bytes", asked)
    size = options.pop("block_size", None)
    grid = make_grid(spec, shape, rows, columns, block_size=size, engine="reference")
    return make_plan(spec, shape, grid, **options)


@pytest.mark.parametrize("size", [0, -3])
def test_block_sizes_below_one_are_refused(size):
    with pytest.raises(PlanError, match=f"block_size must be at least 1, got {size}"):
        plan(block_size=size)


def test_blocks_are_never_larger_than_the_matrix():
    assert plan(rows=7, block_size=1000).grid.block_size == 7
    assert plan(rows=7, columns=30, block_size=1000).grid.block_size == 30


def test_the_chosen_block_size_does_not_depend_on_the_number_of_items():
    assert plan(rows=5000).grid.block_size == plan(rows=50_000).grid.block_size
    cheap = choose_block_size(parse_kernel("fc"), (10,), "reference")
    dear = choose_block_size(parse_kernel("myrtle10"), (32, 32, 3), "reference")
    assert (cheap, dear) == (1024, 32)


def test_one_item_is_one_block():
    report = plan(rows=1).as_report()
    assert report["shape"] == [1, 1]
    assert report["blocks"] == {"total": 1, "cached": 0, "adoptable": 0, "to_compute": 1}


def test_the_report_has_every_field_of_the_contract():
    report = plan(rows=100, block_size=32, blocks_cached=4).as_report()
    assert set(report) == {
        "shape", "block_size", "blocks", "bytes", "operations", "seconds_estimate", "engine",
        "why_engine", "layers",
    }  # fmt: skip
    assert report["blocks"] == {"total": 10, "cached": 4, "adoptable": 0, "to_compute": 6}
    assert report["bytes"]["result"] == 100 * 100 * 4
    assert report["layers"][0] == {"type": "input", "shape": [8, 8]}
    assert report["layers"][-1] == {"type": "relu", "shape": []}


def test_two_kernels_are_two_results():
    both = parse_kernel({"preset": "myrtle5", "kernel": ["nngp", "ntk"]})
    assert plan(both).cost.result_bytes == 2 * plan().cost.result_bytes


def test_what_is_stored_costs_nothing():
    whole, none_left = plan(block_size=10), plan(block_size=10, blocks_cached=55)
    assert whole.cost.operations > 0
    assert none_left.blocks_to_compute == none_left.cost.operations == 0
    assert none_left.cost.seconds == 0


def test_a_block_that_does_not_fit_names_both_numbers_and_a_block_size_that_does():
    budget = 20 * 2**20
    with pytest.raises(MemoryBudgetError, match=r"a block needs .* MiB, a worker allows 20\.0 MiB"):
        plan(rows=5000, block_size=4096, worker_memory_bytes=budget)
    with pytest.raises(MemoryBudgetError) as caught:
        plan(rows=5000, block_size=4096, worker_memory_bytes=budget)
    fits = int(re.search(r"block_size <= (\d+)", str(caught.value)).group(1))
    assert plan(rows=5000, block_size=fits, worker_memory_bytes=budget)
    with pytest.raises(MemoryBudgetError):
        plan(rows=5000, block_size=fits + 1, worker_memory_bytes=budget)


def test_a_pair_that_does_not_fit_says_that_no_block_size_helps():
    with pytest.raises(MemoryBudgetError, match="one thread needs"):
        plan(shape=(64, 64, 3), worker_memory_bytes=2**20)


def test_layers_that_do_not_fit_the_items_are_refused():
    with pytest.raises(ShapeError, match=r"layers\[7\]"):
        plan(shape=(2, 2, 1))


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_grids_of_nothing_are_refused(sizes):
    with pytest.raises(PlanError, match="must be at least 1, got 0"):
        Grid(*sizes, symmetric=False)


def test_symmetric_grids_are_square():
    with pytest.raises(PlanError, match="3 x 4"):
        Grid(3, 4, 2, symmetric=True)


def test_panels_outside_the_grid_are_refused():
    with pytest.raises(RowRangeError, match="panel 2 is outside 0 to 1"):
        Grid(4, 4, 2, symmetric=True).row_range(2)
