"""The bytes of one block: a Zarr shard of uncompressed strips, each with its checksum.

::

    strip 0   s * B values, little-endian, C order | crc32c
    strip 1   ...
    index     B / s pairs (offset, length), uint64 little-endian | crc32c

Strips that lie wholly outside the matrix are left out, with ``2**64 - 1`` twice in the index;
values of a strip outside the matrix are NaN. These are the bytes that Zarr itself writes for
``sharding_indexed`` with ``bytes`` and ``crc32c`` inside and the index at the end.

References
----------
Zarr v3 specification, "Sharding codec" (ZEP 2).
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gramserve.store.checksums import CHECKSUM_BYTES, crc32c_bytes, is_intact

MAX_STRIP_ROWS = 64
"""Rows of a strip at most: what is read and checked together at the first touch of a row."""

_ABSENT = np.iinfo(np.uint64).max


def strip_rows(block_size: int) -> int:
    """Return the rows of a strip, the largest divisor of the block size up to 64.

    Parameters
    ----------
    block_size : int
        Rows of a block.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> strip_rows(1024), strip_rows(96), strip_rows(67)
    (64, 48, 1)
    """
    return max(s for s in range(1, min(block_size, MAX_STRIP_ROWS) + 1) if block_size % s == 0)


@dataclass(frozen=True)
class ShardLayout:
    """Where things are in the shards of one Gram matrix.

    Parameters
    ----------
    block_size : int
        Rows and columns of a block, B.
    dtype : dtype
        float32 or float64; kept as little-endian.
    """

    block_size: int
    dtype: DTypeLike

    @cached_property
    def stored_dtype(self) -> np.dtype[Any]:
        """The dtype as stored, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @cached_property
    def rows_per_strip(self) -> int:
        """Rows of a strip, s."""
        return strip_rows(self.block_size)

    @cached_property
    def strips(self) -> int:
        """Strips of a whole block, B / s."""
        return self.block_size // self.rows_per_strip

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row of a block."""
        return self.block_size * self.stored_dtype.itemsize

    @cached_property
    def strip_bytes(self) -> int:
        """Bytes of one strip with its checksum."""
        return self.rows_per_strip * self.row_bytes + CHECKSUM_BYTES

    @cached_property
    def index_bytes(self) -> int:
        """Bytes of the index with its checksum."""
        return 16 * self.strips + CHECKSUM_BYTES

    def strips_for(self, rows: int) -> int:
        """Return how many strips the first rows of a block take.

        Parameters
        ----------
        rows : int
            Rows of the block that lie inside the matrix.

        Returns
        -------
        int
            Strips stored.
        """
        return math.ceil(rows / self.rows_per_strip)

    def shard_bytes(self, rows: int) -> int:
        """Return the length of a shard.

        Parameters
        ----------
        rows : int
            Rows of the block that lie inside the matrix.

        Returns
        -------
        int
            Bytes.
        """
        return self.strips_for(rows) * self.strip_bytes + self.index_bytes

    def index(self, rows: int) -> bytes:
        """Return the index of a shard whose strips follow each other.

        Parameters
        ----------
        rows : int
            Rows of the block that lie inside the matrix.

        Returns
        -------
        bytes
            With its checksum.
        """
        entries = np.full((self.strips, 2), _ABSENT, "<u8")
        present = self.strips_for(rows)
        entries[:present, 0] = np.arange(present) * self.strip_bytes
        entries[:present, 1] = self.strip_bytes
        packed = entries.tobytes()
        return packed + crc32c_bytes(packed)

    def offsets(self, index: bytes, rows: int, data_bytes: int) -> NDArray[np.int64]:
        """Read where the strips of a shard begin.

        Parameters
        ----------
        index : bytes
            The last bytes of the shard, as many as :attr:`index_bytes`.
        rows : int
            Rows of the block that lie inside the matrix.
        data_bytes : int
            Length of the shard before its index.

        Returns
        -------
        ndarray of int64, shape (strips stored,)
            Offset of every strip, bytes.

        Raises
        ------
        ValueError
            If the checksum does not match, or a strip is missing, of another length, or outside
            the data.
        """
        if len(index) != self.index_bytes or not is_intact(index):
            raise ValueError("the checksum of the index does not match")
        entries = np.frombuffer(index, "<u8", 2 * self.strips).reshape(self.strips, 2)
        entries = entries[: self.strips_for(rows)]
        if (entries[:, 1] != self.strip_bytes).any():
            raise ValueError("the index lacks a strip or gives it another length")
        # Compared before any sum, so that absurd offsets cannot wrap around.
        if data_bytes < self.strip_bytes or (entries[:, 0] > data_bytes - self.strip_bytes).any():
            raise ValueError("the index points outside the file")
        return entries[:, 0].astype(np.int64)

    def encode(self, values: NDArray[np.floating]) -> list[bytes | memoryview]:
        """Return a block as the parts of a shard.

        Parameters
        ----------
        values : ndarray, shape (rows, columns), at most (B, B)
            The part of the block that lies inside the matrix.

        Returns
        -------
        list of buffer
            Strips, their checksums and the index, in the order of the file.
        """
        rows, columns = values.shape
        padded_rows = self.strips_for(rows) * self.rows_per_strip
        if (padded_rows, self.block_size) == values.shape:
            padded = np.ascontiguousarray(values, self.stored_dtype)
        else:
            padded = np.full((padded_rows, self.block_size), np.nan, self.stored_dtype)
            padded[:rows, :columns] = values
        parts: list[bytes | memoryview] = []
        for start in range(0, padded_rows, self.rows_per_strip):
            strip = memoryview(padded[start : start + self.rows_per_strip]).cast("B")
            parts += [strip, crc32c_bytes(strip)]
        parts.append(self.index(rows))
        return parts

    def decode(self, shard: bytes, rows: int, columns: int) -> NDArray[np.floating]:
        """Read a whole shard, checking every checksum.

        Parameters
        ----------
        shard : bytes
            All bytes of the file.
        rows, columns : int
            Extent of the block inside the matrix.

        Returns
        -------
        ndarray, shape (rows, columns)
            The block.

        Raises
        ------
        ValueError
            If a checksum does not match or the length is wrong.
        """
        if len(shard) != self.shard_bytes(rows):
            raise ValueError(f"{len(shard):,} bytes instead of {self.shard_bytes(rows):,}")
        view = memoryview(shard)
        data_bytes = len(shard) - self.index_bytes
        offsets = self.offsets(bytes(view[data_bytes:]), rows, data_bytes)
        values = np.empty((len(offsets), self.rows_per_strip, self.block_size), self.stored_dtype)
        for number, offset in enumerate(offsets):
            values[number] = self.decode_strip(view[offset : offset + self.strip_bytes], number)
        return values.reshape(-1, self.block_size)[:rows, :columns]

    def decode_strip(self, strip: bytes | memoryview, number: int) -> NDArray[np.floating]:
        """Read one strip, checking its checksum.

        Parameters
        ----------
        strip : buffer
            Its bytes with the checksum.
        number : int
            Which strip of the block, for the message.

        Returns
        -------
        ndarray, shape (s, B)
            A view of the bytes.

        Raises
        ------
        ValueError
            If the checksum does not match.
        """
        if len(strip) != self.strip_bytes or not is_intact(strip):
            raise ValueError(f"the checksum of strip {number} does not match")
        count = self.rows_per_strip * self.block_size
        values = np.frombuffer(strip, self.stored_dtype, count)
        return values.reshape(self.rows_per_strip, self.block_size)


def checksum_of(parts: Iterable[bytes | memoryview]) -> str:
    """Return what names the bytes of a whole shard, for provenance.

    Parameters
    ----------
    parts : iterable of buffer
        The shard in order.

    Returns
    -------
    str
        ``sha256:`` and 64 hexadecimal digits.

    Notes
    -----
    Not a CRC-32C: that of data followed by their own CRC-32C is the same for all data, so it
    would say nothing of a shard.
    """
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    return f"sha256:{hashed.hexdigest()}"
