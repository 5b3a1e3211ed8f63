"""Finite networks: empirical kernels in place of their limits of infinite width.

Explicit forward maps and pullbacks on NumPy arrays; no automatic differentiation.
"""

from gramserve.kernels.finite.engine import FiniteEngine

__all__ = ["FiniteEngine"]
