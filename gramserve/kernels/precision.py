"""Precisions: which dtype is computed in and which is stored."""

from typing import Any

import numpy as np

from gramserve.errors import NonFiniteKernelError
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


def remedy(precision: Precision, kind: str) -> str:
    """Return what to do about values that overflow.

    Parameters
    ----------
    precision : {"float32", "mixed", "float64"}
        In which they did.
    kind : str
        Type of the layer whose values they are.

    Returns
    -------
    str
        For the end of a message.
    """
    if precision == "float64" or kind == "gaussian":
        # The expectation of a growing Gaussian is infinite in any precision.
        return "scale the items down"
    return "use precision float64 or scale the items down"


def overflow(
    layer: str, kind: str, pair: tuple[int, int], precision: Precision
) -> NonFiniteKernelError:
    """Return the error for a kernel that is not finite.

    Parameters
    ----------
    layer : str
        Place in the spec of the first layer that gives such values, or "result" where only the
        stored matrix cannot hold them.
    kind : str
        Type of that layer, or "result".
    pair : (int, int)
        Row and column of the block.
    precision : {"float32", "mixed", "float64"}
        In which it was computed.

    Returns
    -------
    NonFiniteKernelError
        With ``layer``, ``type`` and ``pair`` as context.
    """
    where = f"first for row {pair[0]} and column {pair[1]} of the block"
    if layer == "result":
        message = f"the result overflows {result_dtype(precision)}, {where}"
    else:
        message = f"{layer} ({kind}) gives NaN or infinity, {where}"
    return NonFiniteKernelError(
        f"{message}, in {precision}: {remedy(precision, kind)}",
        layer=layer,
        type=kind,
        pair=list(pair),
    )
