"""Items as the kernels read them: entry by entry of their vectors, positions in rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.inputs import input_scale, input_vectors
from gramserve.spec import KernelSpec, input_positions
from gramserve.stages import Offset


def item_positions(spec: KernelSpec, item_shape: Sequence[int]) -> Offset:
    """Return height and width of items; a sequence is one position wide."""
    height, width = (*input_positions(spec, item_shape), 1, 1)[:2]
    return int(height), int(width)


def planar_items(
    spec: KernelSpec, values: NDArray[Any], dtype: Any, *, scaled: bool
) -> NDArray[Any]:
    """Return the vectors of items as the kernels load them, entry by entry.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    values : ndarray, (n, *item_shape)
        Items with positions.
    dtype : dtype
        Of the result.
    scaled : bool
        Whether they have the factor of the products; those of rows have, those of columns not.

    Returns
    -------
    ndarray, (n, entries, H, W)
        Contiguous.
    """
    item_shape = values.shape[1:]
    height, width = item_positions(spec, item_shape)
    factor = input_scale(spec, item_shape) if scaled else 1.0
    vectors = input_vectors(spec, values, np.float64 if factor != 1 else dtype)
    vectors = vectors.reshape(len(values), height, width, -1)
    if factor != 1:
        vectors = vectors * factor
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 1), dtype)
