"""CRC-32C as Zarr's ``crc32c`` codec writes it: four bytes, little-endian, after the data."""

from collections.abc import Buffer

import google_crc32c
import numpy as np

CHECKSUM_BYTES = 4
"""Length of a checksum."""


def crc32c(data: Buffer) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes.

    Parameters
    ----------
    data : buffer
        C-contiguous.

    Returns
    -------
    int
        32 bits.

    References
    ----------
    RFC 3720, appendix B.4.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    # The extension takes bytes and arrays, but no memoryview.
    return int(google_crc32c.value(np.frombuffer(data, np.uint8)))


def crc32c_bytes(data: Buffer) -> bytes:
    """Return the checksum as it is stored.

    Parameters
    ----------
    data : buffer
        C-contiguous.

    Returns
    -------
    bytes
        Four, little-endian.
    """
    return crc32c(data).to_bytes(CHECKSUM_BYTES, "little")


def is_intact(data: Buffer) -> bool:
    """Whether the last four bytes are the checksum of those before them.

    Parameters
    ----------
    data : buffer
        A chunk as stored.

    Returns
    -------
    bool
        False also when there are fewer than four bytes.
    """
    view = memoryview(data).cast("B")
    if len(view) < CHECKSUM_BYTES:
        return False
    return crc32c_bytes(view[:-CHECKSUM_BYTES]) == bytes(view[-CHECKSUM_BYTES:])
