"""Which blocks of a matrix are stored, as arrays of flags: a byte a block, and arithmetic."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gramserve.store.block_objects import Block, BlockObjects
from gramserve.store.header import GramHeader

Mask = NDArray[np.bool_]
"""One flag for every block, shape (row panels, column panels)."""


def stored_mask(gram: BlockObjects) -> Mask:
    """Say which blocks of a matrix are stored.

    Parameters
    ----------
    gram : GramStore
        The matrix; it need not exist, and may go away meanwhile.

    Returns
    -------
    ndarray of bool, shape (row panels, column panels)
        True where every object of a block exists; of a symmetric matrix in both triangles.
        Checksums are not looked at.
    """
    mask = np.zeros(gram.header.panels, np.bool_)
    down, across = mask.shape
    for panel in _names(f"{gram.path}/c"):
        if panel < down:
            found = np.array(_names(f"{gram.path}/c/{panel}"), np.int64)
            mask[panel, found[found < across]] = True
    return mask & mask.T if gram.symmetric else mask


def _names(folder: str) -> list[int]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        # A path object for each of a million names would take seconds.
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]  # noqa: PTH208
    return []


def wanted_mask(header: GramHeader) -> Mask:
    """Say which blocks of a matrix are computed.

    Parameters
    ----------
    header : GramHeader
        Of the matrix.

    Returns
    -------
    ndarray of bool, shape (row panels, column panels)
        All, or the upper triangle with the diagonal of a symmetric matrix.
    """
    mask = np.ones(header.panels, np.bool_)
    return np.triu(mask) if header.symmetric else mask


def masked_blocks(mask: Mask, every: int = 1) -> Iterator[Block]:
    """Go through the blocks of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (row panels, column panels)
        Which blocks.
    every : int
        Only the first of so many.

    Yields
    ------
    tuple of int
        Row by row.
    """
    for place in np.flatnonzero(mask)[::every]:
        i, j = divmod(int(place), mask.shape[1])
        yield i, j


def stored_canonical(gram: BlockObjects) -> Mask:
    """Say which blocks are stored, each counted once.

    Parameters
    ----------
    gram : GramStore
        The matrix.

    Returns
    -------
    ndarray of bool, shape (row panels, column panels)
        Without the mirrors of a symmetric matrix.
    """
    return stored_mask(gram) & wanted_mask(gram.header)
