"""How the layers group and what they cost: pure integers, no arrays.

The cost of the dense evaluation, which the reference engine does, and the offset planes and
stages between poolings, which the fast engines run.
"""

from gramserve.stages.cone import Stage, Step, Window, cut_stages, find_unstaged, plane_entries
from gramserve.stages.operations import PairCost, branch_depth, count_operations, uses_variances

__all__ = [
    "PairCost",
    "Stage",
    "Step",
    "Window",
    "branch_depth",
    "count_operations",
    "cut_stages",
    "find_unstaged",
    "plane_entries",
    "uses_variances",
]
