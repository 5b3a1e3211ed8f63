"""The array library: the only module that imports CuPy.

Engines ask here for the namespace of an array (NumPy, or CuPy where a card is used) and write
their mathematics once for both.
"""

import ctypes
import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any
"""An array of the host (NumPy) or of the device (CuPy, which has no types to check)."""


def namespace_of(array: Any) -> ModuleType:
    """Return the module whose functions take this array.

    Parameters
    ----------
    array : array
        A NumPy or CuPy array.

    Returns
    -------
    module
        ``numpy`` or ``cupy``.
    """
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy  # noqa: PLC0415

        return cupy  # type: ignore[no-any-return]
    return np


def special_functions_of(array: Any) -> ModuleType:
    """Return the module with the special functions (erf, ndtr, ...) for this array.

    Parameters
    ----------
    array : array
        A NumPy or CuPy array.

    Returns
    -------
    module
        ``scipy.special`` or ``cupyx.scipy.special``.
    """
    if namespace_of(array) is np:
        import scipy.special  # noqa: PLC0415 - a tenth of a second that few callers need

        return scipy.special  # type: ignore[no-any-return]
    import cupyx.scipy.special  # noqa: PLC0415

    return cupyx.scipy.special  # type: ignore[no-any-return]


def to_host(array: Any) -> NDArray[Any]:
    """Return the array in host memory, without a copy where it is there already.

    Parameters
    ----------
    array : array
        A NumPy or CuPy array.

    Returns
    -------
    numpy.ndarray
        The same numbers.
    """
    if namespace_of(array) is np:
        return np.asarray(array)
    return np.asarray(array.get())


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Names of two settings of glibc's ``mallopt``."""


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed arrays for the next ones, in this process.

    Otherwise glibc gives large arrays back to the system one by one, and every temporary is
    mapped and zeroed afresh: up to half of the time of an engine that works on temporaries.
    Arrays up to 32 MiB come from the heap from now on, of which up to 128 MiB stay when freed.

    Returns
    -------
    bool
        False where the C library is another one; nothing changes there.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(
        library.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        and library.mallopt(_TRIM_THRESHOLD, 128 * 2**20)
    )
