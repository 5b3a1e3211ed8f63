"""Rows out: what is read from a Gram matrix, and how it travels.

Bytes are little-endian in C order, whatever the machine.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import BlockMissingError
from gramserve.store import GramStore, resolve
from gramserve.store.selection import Indices, Request

PIECE_BYTES = 2 * 2**20
"""Bytes of one piece of a stream: large enough to be fast, small enough for many readers."""


@dataclass(frozen=True)
class RowSelection:
    """Checked rows and columns of one Gram matrix.

    Use :func:`select`.
    """

    gram: GramStore
    """What is read."""
    rows: Indices
    """A range with step 1, or int64 indices in any order."""
    columns: Indices
    """A range with step 1, or int64 indices in any order."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are selected."""
        return len(self.rows), len(self.columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian float32 or float64."""
        return self.gram.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return len(self.rows) * len(self.columns) * self.dtype.itemsize

    def missing_blocks(self) -> list[tuple[int, int]]:
        """List the blocks that are selected but not stored.

        Returns
        -------
        list of tuple of int
            Canonical (``i <= j`` of a symmetric matrix), sorted.
        """
        return self.gram.missing_blocks(*self._request(self.rows))

    def read(self) -> NDArray[np.floating]:
        """Read all values.

        Returns
        -------
        ndarray, shape :attr:`shape`
            In C order.

        Raises
        ------
        BlockMissingError
            If blocks are not stored; ``context["blocks"]`` lists all of them.
        CorruptBlockError
            If bytes are damaged.
        """
        return self.gram.read(*self._request(self.rows))

    def pieces(self, piece_bytes: int = PIECE_BYTES) -> Iterator[tuple[slice, bytes]]:
        """Read the values piece by piece.

        Parameters
        ----------
        piece_bytes : int
            Bytes of a piece at most; a row is never cut, so one long row may be more.

        Returns
        -------
        iterator of (slice, bytes)
            Which of the selected rows, and their bytes; pieces follow each other.

        Raises
        ------
        BlockMissingError
            Here, not at the first piece, if blocks are not stored; ``context["blocks"]`` lists
            all of them. Blocks can still be removed while pieces are read.
        """
        if missing := self.missing_blocks():
            raise BlockMissingError(
                f"{len(missing)} of {self.gram.block_count} blocks that these rows cross are not "
                "computed yet; wait for the job, or resume it",
                blocks=[list(block) for block in missing],
            )
        return self._pieces(piece_bytes)

    def _pieces(self, piece_bytes: int) -> Iterator[tuple[slice, bytes]]:
        row_bytes = max(1, len(self.columns) * self.dtype.itemsize)
        step = max(1, piece_bytes // row_bytes)
        for start in range(0, len(self.rows), step):
            stop = min(len(self.rows), start + step)
            values = self.gram.read(*self._request(self.rows[start:stop]))
            yield slice(start, stop), values.tobytes()

    def _request(self, rows: Indices) -> tuple[Request, Request]:
        return rows, self.columns


def select(gram: GramStore, rows: Request = None, columns: Request = None) -> RowSelection:
    """Check which rows and columns are asked for.

    Parameters
    ----------
    gram : GramStore
        What is read.
    rows, columns : None, int, slice, range, sequence of int or ndarray of int, shape (n,)
        None for all; in any order, repeats allowed. None may be negative: a client that counts
        from the end knows the shape and resolves it.

    Returns
    -------
    RowSelection
        To be read.

    Raises
    ------
    RowRangeError
        If an index is outside the matrix, negative, or not a whole number.
    """
    return RowSelection(
        gram, resolve(rows, gram.shape[0], "rows"), resolve(columns, gram.shape[1], "columns")
    )


def encode(values: NDArray[Any]) -> bytes:
    r"""Return the bytes of values as they travel.

    Parameters
    ----------
    values : ndarray
        Of any order.

    Returns
    -------
    bytes
        Little-endian, C order.

    Examples
    --------
    >>> encode(np.array([1, 2], ">u2"))
    b'\x01\x00\x02\x00'
    """
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return what stands before such bytes in a ``.npy`` file.

    Parameters
    ----------
    shape : tuple of int
        Of the values.
    dtype : dtype
        Written as little-endian.

    Returns
    -------
    bytes
        Format version 1.0.
    """
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<")),
        "fortran_order": False,
        "shape": tuple(int(n) for n in shape),
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
