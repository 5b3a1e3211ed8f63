"""The array library: the only module that imports CuPy.

Engines ask here for the namespace of an array (NumPy, or CuPy where a card is used) and write
their mathematics once for both.
"""

import os
from pathlib import Path
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


def physical_memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or its control group's limit.

    Returns
    -------
    int
        Bytes.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(text)) if text.isdigit() else physical
