"""How the layers group and what they cost: pure integers, no arrays.

The cost of the dense evaluation, which the reference engine does, and the offset planes and
stages between poolings, which the fast engines run; the layout and the cost of finite networks.
"""

from gramserve.stages.activations import averages_variances, uses_variances, variance_count
from gramserve.stages.cone import cut_stages, wraps_or_fills
from gramserve.stages.finite import FiniteNetwork, Node, Signal, lay_out
from gramserve.stages.finite_cost import (
    FiniteCost,
    JacobianProduct,
    count_finite,
    jacobian_product,
)
from gramserve.stages.operations import PairCost, PlaneWork, branch_depth, count_operations
from gramserve.stages.stage import Fork, Stage, Stages, Step, Tap, flat_steps, plane_entries
from gramserve.stages.symmetry import GROUP_SIZES, commutes_with_group, count_evaluations
from gramserve.stages.windows import Offset, Window, Windows

__all__ = [
    "GROUP_SIZES",
    "FiniteCost",
    "FiniteNetwork",
    "Fork",
    "JacobianProduct",
    "Node",
    "Offset",
    "PairCost",
    "PlaneWork",
    "Signal",
    "Stage",
    "Stages",
    "Step",
    "Tap",
    "Window",
    "Windows",
    "averages_variances",
    "branch_depth",
    "commutes_with_group",
    "count_evaluations",
    "count_finite",
    "count_operations",
    "cut_stages",
    "flat_steps",
    "jacobian_product",
    "lay_out",
    "plane_entries",
    "uses_variances",
    "variance_count",
    "wraps_or_fills",
]
