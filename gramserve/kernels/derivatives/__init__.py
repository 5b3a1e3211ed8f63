"""Derivatives of fully connected kernels in the vectors they compare.

A gradient of a kernel is what observations of gradients, sensitivity maps and gradient-based
design need; the mixed second derivative is the covariance of the random network's gradients.

References
----------
Williams, "Computing with Infinite Networks", NeurIPS 1996 (erf).
Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009 (arc-cosine, ``J_m``).
Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 9.4.
"""

from gramserve.kernels.derivatives.differentiate import (
    PIECE_BYTES,
    differentiate_in_pieces,
    differentiate_kernel,
    pair_bytes,
)
from gramserve.kernels.derivatives.duals import check_differentiable
from gramserve.kernels.derivatives.expand import Directions

__all__ = [
    "PIECE_BYTES",
    "Directions",
    "check_differentiable",
    "differentiate_in_pieces",
    "differentiate_kernel",
    "pair_bytes",
]
