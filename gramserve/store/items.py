"""Which items may be stored, and what names them."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError
from gramserve.spec import canonical_json

DIGEST_BYTES = 32
"""Length of the digest of an item."""


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that items are stored in.

    Parameters
    ----------
    dtype : dtype
        As given.

    Returns
    -------
    dtype
        Little-endian; uint8 for bool, so that true and false are the numbers 1 and 0.

    Raises
    ------
    UnsupportedDtypeError
        If it is not a real dtype of at most eight bytes.
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "iuf" or dtype.names is not None:
        raise UnsupportedDtypeError(
            f"items must be real numbers, not of dtype {dtype}; convert them first",
            dtype=str(dtype),
        )
    if dtype.itemsize > 8:
        raise UnsupportedDtypeError(
            f"items of dtype {dtype} mean different numbers on different machines; convert them "
            "to float64",
            dtype=str(dtype),
        )
    return dtype.newbyteorder("<")


def check_items_shape(shape: tuple[int, ...]) -> None:
    """Refuse shapes that cannot be items.

    Parameters
    ----------
    shape : tuple of int
        Items first.

    Raises
    ------
    ShapeError
        If there is no axis beside that of the items.
    InvalidDataError
        If there is no item, or items have no values.
    """
    if len(shape) < 2:
        raise ShapeError(
            f"items need an axis of their own: {shape} has rank {len(shape)}; vectors are (N, D), "
            "images (N, H, W, C)"
        )
    if shape[0] == 0:
        raise InvalidDataError(f"there are no items in an array of shape {shape}")
    if 0 in shape[1:]:
        raise InvalidDataError(f"items of shape {shape[1:]} hold no values")


def check_finite(values: NDArray[Any], first: int) -> None:
    """Refuse items with NaN or infinity.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        A run of items.
    first : int
        Number of the first one, for the message.

    Raises
    ------
    InvalidDataError
        Naming the first bad item and value.
    """
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if finite.all():
        return
    place = tuple(int(n) for n in np.argwhere(~finite)[0])
    raise InvalidDataError(
        f"item {first + place[0]} holds {values[place]} at {list(place[1:])}; items must be finite",
        item=first + place[0],
        index=list(place[1:]),
    )


def item_digests(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the SHA-256 of every item.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        C order, little-endian.

    Returns
    -------
    ndarray of uint8, shape (n, 32)
        Of the bytes alone, whatever shape and dtype they have.
    """
    packed = b"".join(hashlib.sha256(memoryview(item).cast("B")).digest() for item in values)
    return np.frombuffer(packed, np.uint8).reshape(-1, DIGEST_BYTES)


def digest_items(
    item_shape: tuple[int, ...], dtype: np.dtype[Any], digests: NDArray[np.uint8]
) -> str:
    """Return what names a run of items.

    Parameters
    ----------
    item_shape : tuple of int
        Shape of one item.
    dtype : dtype
        As stored.
    digests : ndarray of uint8, shape (n, 32)
        Of the items.

    Returns
    -------
    str
        SHA-256 of the canonical JSON of shape and dtype, a line feed, and the digests; 64
        hexadecimal digits.

    Notes
    -----
    Shape and dtype are part of it because equal bytes can be different items.
    """
    described = {"format": "gramserve.items/1", "item_shape": list(item_shape), "dtype": dtype.name}
    hashed = hashlib.sha256(canonical_json(described) + b"\n")
    hashed.update(digests.tobytes())
    return hashed.hexdigest()
