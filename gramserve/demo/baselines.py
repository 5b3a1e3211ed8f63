"""Kernels of pixels to compare with: linear and Gaussian."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTHS = 2.0 ** np.arange(-2, 3)
"""Squared widths of the Gaussian to choose from, relative to the median squared distance."""

Grams = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Gram matrix of the training images, (n, n), and rows of the test images, (m, n)."""


def _flat(images: NDArray[Any]) -> NDArray[np.float64]:
    return images.reshape(len(images), -1).astype(np.float64)


def linear(train: NDArray[Any], test: NDArray[Any]) -> Iterator[Grams]:
    """Yield the linear kernel, ``<x, x'>``.

    Parameters
    ----------
    train, test : ndarray, (n, ...) and (m, ...)
        Images of the same shape.

    Yields
    ------
    ndarray, (n, n)
        Gram matrix of the training images.
    ndarray, (m, n)
        Rows of the test images.
    """
    items, new = _flat(train), _flat(test)
    yield items @ items.T, new @ items.T


def gaussian(train: NDArray[Any], test: NDArray[Any]) -> Iterator[Grams]:
    """Yield Gaussian kernels of several widths, ``exp(-|x - x'|^2 / w)``.

    Parameters
    ----------
    train, test : ndarray, (n, ...) and (m, ...)
        Images of the same shape.

    Yields
    ------
    ndarray, (n, n)
        Gram matrix of the training images.
    ndarray, (m, n)
        Rows of the test images.
    """
    items, new = _flat(train), _flat(test)
    norms = (items**2).sum(axis=1)
    near = norms[:, None] + norms - 2 * items @ items.T
    far = (new**2).sum(axis=1)[:, None] + norms - 2 * new @ items.T
    for width in _WIDTHS * np.median(near):
        yield np.exp(-near / width), np.exp(-far / width)
