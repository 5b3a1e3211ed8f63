"""Plans of finite networks: items count as well as pairs."""

import pytest

from gramserve.errors import MemoryBudgetError
from gramserve.kernels import ENGINES
from gramserve.plan import Grid, choose_block_size, make_grid, make_plan
from gramserve.spec import parse_kernel
from gramserve.stages import count_operations

SHAPE = (8, 8, 3)


def spec(**finite):
    return parse_kernel({"preset": "cntk", "depth": 3, "finite": {"width": 32, **finite}})


def plan(kernel, rows=40, columns=None, block_size=16, memory=2**30, cached=0):
    grid = make_grid(kernel, SHAPE, rows, columns, block_size=block_size, engine="finite")
    return make_plan(
        kernel, SHAPE, grid, precision="float32", engine="finite", why_engine="because",
        temporary_bytes=ENGINES["finite"].temporary_bytes(kernel, SHAPE, "float32"),
        worker_memory_bytes=memory, workers=1, blocks_cached=cached,
    )  # fmt: skip


@pytest.mark.parametrize(("rows", "columns", "size"), [(40, None, 16), (40, 23, 16), (5, None, 9)])
def test_items_are_counted_once_for_every_block_they_are_part_of(rows, columns, size):
    grid = Grid(rows, rows if columns is None else columns, size, symmetric=columns is None)
    visits = 0
    for block in grid.blocks():
        height, width = grid.shape_of(block)
        visits += height if grid.symmetric and block[0] == block[1] else height + width
    assert grid.item_visits == visits
    cost = count_operations(spec(), SHAPE)
    expected = cost.item_operations * visits + cost.operations * grid.entry_count
    assert plan(spec(), rows, columns, size).cost.operations == expected


def test_seconds_follow_operations_and_stored_blocks_cost_nothing():
    one, many = plan(spec(samples=1)).cost, plan(spec(samples=10)).cost
    assert many.seconds == pytest.approx(10 * one.seconds)
    assert many.operations == 10 * one.operations
    assert plan(spec(), cached=6).cost.seconds == 0


def test_dear_items_make_small_blocks_and_the_number_of_items_does_not_matter():
    cheap = parse_kernel({"preset": "fc", "finite": {"width": 16, "samples": 1}})
    assert choose_block_size(cheap, (10,), "finite") == 1024
    assert choose_block_size(spec(), SHAPE, "finite") == 1024
    assert choose_block_size(spec(width=256, samples=64), (32, 32, 3), "finite") == 32
    assert 32 < choose_block_size(spec(width=128, samples=8), (16, 16, 3), "finite") < 1024


def test_networks_that_do_not_fit_are_refused_before_anything_runs():
    with pytest.raises(MemoryBudgetError, match=r"a worker allows 1\.0 MiB"):
        plan(spec(width=512), memory=2**20)
