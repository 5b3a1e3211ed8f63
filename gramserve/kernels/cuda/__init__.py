"""The CUDA engine: the mathematics as C++ templates in ``sources``, and what runs them on a card.

A network is cut into stages as for the CPU engine, the stages into steps of a device, and each
step becomes one kernel, an instance of a template.
"""

from gramserve.kernels.cuda.engine import CudaEngine

__all__ = ["CudaEngine"]
