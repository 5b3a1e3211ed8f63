"""What rows are for: learning with a Gram matrix in memory.

Pure functions of arrays; no files, no network. Needs NumPy and SciPy.
"""

from gramserve.learn.descent import GradientDescent

__all__ = ["GradientDescent"]
