"""How the layers group and what they cost: pure integers, no arrays.

Today this is the cost of the dense evaluation. Offset planes and the stages between poolings,
which the fast engines run, belong here as well.
"""

from gramserve.stages.operations import PairCost, branch_depth, count_operations, uses_variances

__all__ = ["PairCost", "branch_depth", "count_operations", "uses_variances"]
