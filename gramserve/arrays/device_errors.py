"""Errors of CuPy and CUDA as errors of gramserve."""

import contextlib
from collections.abc import Iterator

from gramserve.errors import (
    BlockError,
    DeviceLostError,
    DeviceMemoryError,
    EngineUnavailableError,
    GramserveError,
)

_OUT_OF_MEMORY = {
    "CUDARuntimeError": 2,  # cudaErrorMemoryAllocation
    "CUDADriverError": 2,  # CUDA_ERROR_OUT_OF_MEMORY
    "CUBLASError": 3,  # CUBLAS_STATUS_ALLOC_FAILED
}
"""The status by which each class says that memory was short."""

_NO_DEVICE = frozenset({34, 35, 100, 101})
"""No driver, one too old, no card, no card of this number."""

_OF_CUDA = frozenset({"CUDARuntimeError", "CUDADriverError"})
_LASTING = frozenset({700, 702, 710, 714, 715, 716, 717, 718, 719})
"""Faults of a kernel, after which every call of the process fails: illegal addresses, ..."""


def translated(error: Exception) -> GramserveError | None:
    """Return what an exception of the device means here.

    Parameters
    ----------
    error : Exception
        Anything raised while a device was at work.

    Returns
    -------
    GramserveError or None
        DeviceMemoryError where memory was short, EngineUnavailableError where the card or a library
        of CUDA is missing, DeviceLostError for faults that last as long as the process, BlockError
        for others of CuPy or CUDA; None where the exception is
        nobody's but the caller's.
    """
    # By name, so that this needs no CuPy: its classes live in cupy and cupy_backends.
    kind = type(error).__name__
    status = getattr(error, "status", None)
    said = str(error).rstrip(".")
    meant: GramserveError | None
    if isinstance(error, ImportError):
        meant = EngineUnavailableError(
            f"a library of CUDA is missing ({said}): pip install 'gramserve[cuda]'"
        )
    elif not type(error).__module__.startswith("cupy"):
        meant = None
    elif isinstance(error, MemoryError) or _OUT_OF_MEMORY.get(kind, -1) == status:
        meant = DeviceMemoryError(f"the device ran out of memory: {said}; use smaller batches")
    elif kind == "CompileException":
        meant = BlockError(f"the CUDA compiler refuses the source:\n{said}")
    elif kind == "CUDARuntimeError" and status in _NO_DEVICE:
        meant = EngineUnavailableError(
            f"there is no such card: {said}; `nvidia-smi` lists the cards of this machine, and "
            "CUDA_VISIBLE_DEVICES may hide some"
        )
    elif kind in _OF_CUDA and status in _LASTING:
        meant = DeviceLostError(
            f"a kernel failed on the device: {said}; this process cannot use the device any more, "
            "so start it again"
        )
    else:
        meant = BlockError(f"the device failed: {said}")
    return meant


@contextlib.contextmanager
def device_guard() -> Iterator[None]:
    """Turn errors of CuPy and CUDA inside into gramserve's.

    Raises
    ------
    DeviceMemoryError
        Out of memory; may be tried again with less.
    EngineUnavailableError
        The card or a library of CUDA is missing.
    DeviceLostError
        A fault that lasts as long as the process.
    BlockError
        Any other fault.
    """
    try:
        yield
    except Exception as error:
        meant = translated(error)
        if meant is None:
            raise
        raise meant from error
