"""Errors of CuPy and CUDA as errors of gramserve."""

import contextlib
from collections.abc import Iterator

from gramserve.errors import BlockError, DeviceMemoryError, EngineUnavailableError, GramserveError

_OUT_OF_MEMORY = {
    "CUDARuntimeError": 2,  # cudaErrorMemoryAllocation
    "CUDADriverError": 2,  # CUDA_ERROR_OUT_OF_MEMORY
    "CUBLASError": 3,  # CUBLAS_STATUS_ALLOC_FAILED
}
"""The status by which each class says that memory was short."""

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
        DeviceMemoryError where memory was short, EngineUnavailableError where a library of CUDA
        is missing, BlockError for other faults of CuPy or CUDA; None where the exception is
        nobody's but the caller's.
    """
    kind = type(error)
    # By name, so that this needs no CuPy: its classes live in cupy and cupy_backends.
    if not kind.__module__.startswith("cupy"):
        if isinstance(error, ImportError):
            return EngineUnavailableError(
                f"a library of CUDA is missing ({error}): pip install 'gramserve[cuda]'"
            )
        return None
    status = getattr(error, "status", None)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.get(kind.__name__, -1) == status:
        return DeviceMemoryError(f"the device ran out of memory: {error}; use smaller batches")
    if kind.__name__ == "CompileException":
        return BlockError(f"the CUDA compiler refuses the source:\n{error}")
    if kind.__name__ != "CUBLASError" and status in _LASTING:
        return BlockError(
            f"a kernel failed on the device: {error}; this process cannot use the device any "
            "more, so start it again"
        )
    return BlockError(f"the device failed: {error}")


@contextlib.contextmanager
def device_guard() -> Iterator[None]:
    """Turn errors of CuPy and CUDA inside into gramserve's.

    Raises
    ------
    DeviceMemoryError
        Out of memory; may be tried again with less.
    EngineUnavailableError
        A library of CUDA is missing.
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
