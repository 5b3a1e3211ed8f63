"""Which library an array belongs to: NumPy on the host, CuPy on a card.

Engines ask here for the namespace of an array and write their mathematics once for both.
"""

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
        A NumPy or CuPy array, or one that says so itself by the array API's
        ``__array_namespace__``.

    Returns
    -------
    module
        ``numpy``, ``cupy``, or what the array names.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy  # noqa: PLC0415

        return cupy  # type: ignore[no-any-return]
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


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
