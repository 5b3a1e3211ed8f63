"""Variances of items as the kernels read them: square roots and their inverses, in pairs."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.variances import spec_variance_places
from gramserve.spec import KernelSpec

VARIANCE_STEP = 4
"""Variances of a layer begin at multiples of this, as ``chain.cuh`` has it."""


def _padded(count: int) -> int:
    return -(-count // VARIANCE_STEP) * VARIANCE_STEP


def _counts(spec: KernelSpec, item_shape: Sequence[int]) -> list[int]:
    return [prod(place.positions) for place in spec_variance_places(spec, item_shape)]


def variance_offsets(spec: KernelSpec, item_shape: Sequence[int]) -> dict[int, int]:
    """Return where the variances of each layer begin on a device.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    dict of int to int
        By where they begin among an item's variances.
    """
    found, start, offset = {}, 0, 0
    for count in _counts(spec, item_shape):
        found[start] = offset
        start, offset = start + count, offset + _padded(count)
    return found


def padded_variances(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return how many places the variances of an item take, gaps included."""
    return sum(_padded(count) for count in _counts(spec, item_shape))


def roots_of(
    spec: KernelSpec, item_shape: Sequence[int], variances: NDArray[Any], dtype: Any
) -> NDArray[Any]:
    """Return ``sqrt(q)`` and ``1 / sqrt(q)`` of all layers.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    variances : ndarray, (n, V)
        Of n items.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray, (n, padded V, 2)
        The inverse is 0 where the variance is; gaps are 0.
    """
    places = padded_variances(spec, item_shape)
    found = np.zeros((len(variances), max(places, VARIANCE_STEP), 2), dtype)
    norms = np.sqrt(variances, dtype=variances.dtype)
    inverses = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    start = offset = 0
    for count in _counts(spec, item_shape):
        part = slice(offset, offset + count)
        found[:, part, 0] = norms[:, start : start + count]
        found[:, part, 1] = inverses[:, start : start + count]
        start, offset = start + count, offset + _padded(count)
    return found


def doubling(spec: KernelSpec, item_shape: Sequence[int]) -> NDArray[np.int32]:
    """Return which roots follow each other where the rows of every layer lie twice.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    ndarray of int32, (2 padded V,)
        What begins at v among the roots begins at 2 v here, one copy behind the other.
    """
    places = max(padded_variances(spec, item_shape), VARIANCE_STEP)
    found = np.zeros(2 * places, np.int32)
    offset = 0
    for count in _counts(spec, item_shape):
        part = np.arange(offset, offset + count)
        found[2 * offset : 2 * (offset + count)] = np.concatenate([part, part])
        offset += _padded(count)
    return found
