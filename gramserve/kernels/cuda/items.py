"""Items as the kernels read them: entries of vectors in packs, positions in rows."""

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


def packed_items(
    spec: KernelSpec, values: NDArray[Any], dtype: Any, packing: int, *, doubled: bool
) -> NDArray[Any]:
    """Return the vectors of items as the kernels load them.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    values : ndarray, (n, *item_shape)
        Items with positions.
    dtype : dtype
        Of the result.
    packing : int
        Entries that lie together.
    doubled : bool
        Whether every pack has its rows twice, one copy behind the other, for the items of
        columns. Only those of rows have the factor of the products.

    Returns
    -------
    ndarray, (n, packs, H or 2 H, W, packing)
        Zeros where the last pack is not full.
    """
    item_shape = values.shape[1:]
    height, width = item_positions(spec, item_shape)
    vectors = input_vectors(spec, values, np.float64)
    vectors = vectors.reshape(len(values), height, width, -1)
    if not doubled:
        vectors = vectors * input_scale(spec, item_shape)
    packs = -(-vectors.shape[-1] // packing)
    found = np.zeros((len(values), packs, height, width, packing), dtype)
    for entry in range(vectors.shape[-1]):
        found[:, entry // packing, :, :, entry % packing] = vectors[..., entry]
    return np.concatenate([found, found], axis=2) if doubled else found
