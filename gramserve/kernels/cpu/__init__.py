"""The CPU engine: offset planes in vectors of items, compiled by Numba.

Every 64-byte vector holds the same entry of one item against 16 (float32) or 8 (float64) others.
A network is a table of integers that compiled code reads, so a new network compiles nothing.
Compiled code is cached beside the sources; Numba notices a change of the file of a function but
not of the files it calls, so remove ``__pycache__`` after changing them (``make clean``).
"""

from gramserve.kernels.cpu.engine import CpuEngine

__all__ = ["CpuEngine"]
