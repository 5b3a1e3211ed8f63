"""A device without a card: the sources of CUDA kernels, run on the CPU.

``ShimDevice`` has the interface of :class:`gramserve.arrays.Device`; ``shim.h`` gives g++ the words
of CUDA, ``runtime.cpp`` runs blocks as fibers. Wrong use is an error with a message.
"""

from cuda_shim.compiler import Compiler, CompilerMissingError
from cuda_shim.device import ShimDevice

__all__ = ["Compiler", "CompilerMissingError", "ShimDevice"]
