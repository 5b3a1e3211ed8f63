"""Precisions: which dtype is computed in and which is stored."""

from typing import Any

import numpy as np

from gramserve.spec import Precision


def result_dtype(precision: Precision) -> np.dtype[Any]:
    """Return the dtype a Gram matrix of this precision is stored in.

    Parameters
    ----------
    precision : {"float32", "mixed", "float64"}
        "mixed" computes the late, sensitive stages in float64 and stores float32.

    Returns
    -------
    numpy.dtype
        float64 for "float64", else float32.
    """
    return np.dtype(np.float64 if precision == "float64" else np.float32)


def working_dtype(precision: Precision) -> np.dtype[Any]:
    """Return the dtype the reference engine computes in.

    Parameters
    ----------
    precision : {"float32", "mixed", "float64"}
        The reference engine takes "mixed" as float64 throughout, rounded at the end.

    Returns
    -------
    numpy.dtype
        float32 for "float32", else float64.
    """
    return np.dtype(np.float32 if precision == "float32" else np.float64)


def remedy(precision: Precision) -> str:
    """Return what to do about values that overflow.

    Parameters
    ----------
    precision : {"float32", "mixed", "float64"}
        In which they did.

    Returns
    -------
    str
        For the end of a message.
    """
    if precision == "float64":
        return "scale the items down"
    return "use precision float64 or scale the items down"
