"""Items as vectors at every position, whose products are the first covariance.

``S0[p, p'] = bias_variance + a sum_c v_c x[p, c] x'[p', c]`` is a plain inner product of vectors
``f[p]`` with the entries ``sqrt(v_c) x[p, c]`` and one constant: engines know nothing else.

References
----------
Williams, "Computing with Infinite Networks", NeurIPS 1996: a constant input of 1 and a weight
covariance ``Sigma = diag(bias_variance, v_1, ..., v_C)``.
Shankar et al., "Neural Kernels Without Tangents", ICML 2020, code: all pairs of channels.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.spec import KernelSpec


def is_plain(spec: KernelSpec) -> bool:
    """Return whether the vectors are the items themselves.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.

    Returns
    -------
    bool
        False with weights on channels, a constant input, or channels "all".
    """
    given = spec.input
    return given.channels != "all" and given.channel_variances == 1 and not given.bias_variance


def input_width(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return how many entries the vectors have.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    int
        The channels, or 1 for channels "all", and 1 more for a constant.
    """
    width = 1 if spec.input.channels == "all" else item_shape[-1]
    return width + (spec.input.bias_variance > 0)


def input_scale(spec: KernelSpec, item_shape: Sequence[int]) -> float:
    """Return the factor of the vectors' products.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    float
        One over the items' channels for channels "mean", else 1.
    """
    return 1 / item_shape[-1] if spec.input.channels == "mean" else 1.0


def input_vectors(spec: KernelSpec, values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return the vectors of items.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    values : ndarray, (n, *P, C)
        The items.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray, (n, *P, F)
        ``F`` is :func:`input_width`. The items themselves, where that is what they are.
    """
    if is_plain(spec):
        return values.astype(dtype, copy=False)
    vectors = values.astype(np.float64)
    given = spec.input
    if given.channels == "all":
        vectors = vectors.sum(axis=-1, keepdims=True)
    if given.channel_variances != 1:
        vectors *= np.sqrt(np.asarray(given.channel_variances, np.float64))
    if given.bias_variance:
        constant = sqrt(given.bias_variance / input_scale(spec, values.shape[1:]))
        last = np.full((*vectors.shape[:-1], 1), constant)
        vectors = np.concatenate([vectors, last], axis=-1)
    return vectors.astype(dtype, copy=False)
