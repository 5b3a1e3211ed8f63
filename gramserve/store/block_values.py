"""What may be stored as a block: checked values in the shape and orientation of the file."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import NonFiniteKernelError, StoreMismatchError, UnsupportedDtypeError
from gramserve.store.header import GramHeader

_FAR = 1e-2
"""Asymmetry, relative to the largest value, that no rounding explains."""


def check_block(header: GramHeader, i: int, j: int, values: ArrayLike) -> NDArray[np.floating]:
    """Return the values of the canonical block for the values of block (i, j).

    Parameters
    ----------
    header : GramHeader
        Of the matrix.
    i, j : int
        Panel of the rows and of the columns.
    values : array_like, shape ``header.extent(i, j)``
        float32 or float64.

    Returns
    -------
    ndarray
        In the dtype of the matrix; transposed if block (i, j) is a mirror; exactly symmetric
        if it is on the diagonal of a symmetric matrix, by its upper triangle.

    Raises
    ------
    RowRangeError
        If there is no such block.
    StoreMismatchError
        If the shape is wrong, or a diagonal block is far from symmetric.
    UnsupportedDtypeError
        If the values are not floating-point numbers.
    NonFiniteKernelError
        If a value is NaN or infinite, or becomes so in the dtype of the matrix.
    """
    extent = header.extent(i, j)
    given = np.asarray(values)
    if given.shape != extent:
        raise StoreMismatchError(
            f"block ({i}, {j}) has {extent[0]} x {extent[1]} values, not {given.shape}",
            block=[i, j],
        )
    if given.dtype.kind != "f":
        raise UnsupportedDtypeError(f"a block holds floating-point numbers, not {given.dtype}")
    with np.errstate(over="ignore"):  # found and named below
        block = given.astype(header.dtype, copy=False)
    finite = np.isfinite(block)
    if not finite.all():
        _refuse_non_finite(header, i, j, block, finite)
    if header.canonical(i, j) != (i, j):
        block = block.T
    if header.symmetric and i == j:
        block = _mirrored(i, block)
    return block


def _refuse_non_finite(
    header: GramHeader, i: int, j: int, block: NDArray[np.floating], finite: NDArray[np.bool_]
) -> None:
    row, column = (int(n) for n in np.argwhere(~finite)[0])
    pair = [i * header.block_size + row, j * header.block_size + column]
    raise NonFiniteKernelError(
        f"block ({i}, {j}) holds {np.count_nonzero(~finite)} values that are not finite, the first "
        f"{block[row, column]} at row {pair[0]}, column {pair[1]}; it is not stored",
        block=[i, j],
        pair=pair,
    )


def _mirrored(i: int, block: NDArray[np.floating]) -> NDArray[np.floating]:
    # Engines may round k(x, y) and k(y, x) differently; what is stored is symmetric to the bit.
    apart = np.abs(block - block.T)
    if apart.max() > _FAR * np.abs(block).max():
        row, column = (int(n) for n in np.unravel_index(int(apart.argmax()), apart.shape))
        raise StoreMismatchError(
            f"block ({i}, {i}) of a symmetric matrix is not symmetric: {block[row, column]} and "
            f"{block[column, row]} at ({row}, {column}) and its mirror; it is not stored",
            block=[i, i],
        )
    return np.where(np.tri(len(block), k=-1, dtype=bool), block.T, block)
