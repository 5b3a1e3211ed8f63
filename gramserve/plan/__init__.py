"""How it is cut: blocks, bytes, operations and seconds of a job, as integers."""

from gramserve.plan.block_map import BlockMap
from gramserve.plan.cost import Cost, choose_block_size, pair_seconds
from gramserve.plan.grid import BlockIndex, Grid
from gramserve.plan.plan import Plan, make_grid, make_plan

__all__ = [
    "BlockIndex",
    "BlockMap",
    "Cost",
    "Grid",
    "Plan",
    "choose_block_size",
    "make_grid",
    "make_plan",
    "pair_seconds",
]
