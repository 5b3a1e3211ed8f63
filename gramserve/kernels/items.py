"""Items as engines take them, and the checks they pass first."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError
from gramserve.spec import KernelSpec, infer_shapes, input_positions


@dataclass(frozen=True)
class Items:
    """A run of items with what an engine needs to know of each."""

    values: NDArray[Any]
    """(n, *item_shape), any real dtype."""
    variances: NDArray[Any]
    """(n, V), as :meth:`Engine.variances` returned them."""
    keys: NDArray[Any]
    """(n,); equal keys mean the same item, so that ``x is x'`` is known exactly.

    Usually hashes of bytes, which mean other numbers in another dtype: engines compare keys
    only where the values on both sides have the same dtype."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, run: slice) -> "Items":
        return Items(self.values[run], self.variances[run], self.keys[run])


def label_items(rows: Items, columns: Items) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return an integer for every item, the same for the same item.

    Parameters
    ----------
    rows, columns : Items
        n and m items.

    Returns
    -------
    (ndarray of int, (n,)), (ndarray of int, (m,))
        Equal where a row item and a column item are one.
    """
    if rows.values.dtype != columns.values.dtype:
        # Equal bytes, as keys have it, are other numbers: int8 -1 and uint8 255.
        return np.arange(len(rows)), np.arange(len(columns)) + len(rows)
    _, labels = np.unique(np.concatenate([rows.keys, columns.keys]), return_inverse=True)
    return labels[: len(rows)], labels[len(rows) :]


def item_keys(values: NDArray[Any]) -> NDArray[np.bytes_]:
    """Return the SHA-256 of every item, little-endian and in C order.

    Parameters
    ----------
    values : ndarray, (n, ...)
        Items of a real dtype.

    Returns
    -------
    ndarray of bytes, (n,)
        64 hexadecimal digits each.
    """
    dtype = values.dtype.newbyteorder("<")
    return np.array(
        [hashlib.sha256(item.astype(dtype).tobytes()).hexdigest() for item in values], dtype="S64"
    )


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that is not a real number.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the items.

    Raises
    ------
    UnsupportedDtypeError
        For complex, object, string, structured and date dtypes.
    """
    if dtype.kind not in "buif":
        msg = (
            f"items of dtype {dtype} are not real numbers; pass integers, floats or booleans, "
            "for example x.astype(np.float32)"
        )
        raise UnsupportedDtypeError(msg, errors=[{"loc": "items", "message": msg}])


def check_items(values: NDArray[Any], spec: KernelSpec, name: str = "x") -> None:
    """Refuse items that a kernel cannot be computed of.

    Parameters
    ----------
    values : ndarray, (n, *item_shape)
        The items.
    spec : KernelSpec
        Its input layout decides which item shapes are read how.
    name : str
        What to call the array in messages.

    Raises
    ------
    UnsupportedDtypeError
        When they are not real numbers.
    ShapeError
        When their rank does not fit; proposes ``x[..., None]`` for stacks of grey images.
    InvalidDataError
        When there are none, or one holds NaN or infinity; names the first.
    """
    check_dtype(values.dtype)
    if values.ndim < 2:
        msg = f"{name} has shape {values.shape}; items come first, so it needs at least two axes"
        raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])
    if not len(values):
        msg = f"{name} has shape {values.shape} and holds no items"
        raise InvalidDataError(msg, errors=[{"loc": "items", "message": msg}])
    input_positions(spec, values.shape[1:])
    if values.dtype.kind == "f":
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            msg = (
                f"item {first} of {name} holds NaN or infinity "
                f"({np.count_nonzero(~finite)} of {len(values)} items do)"
            )
            raise InvalidDataError(msg, errors=[{"loc": f"items[{first}]", "message": msg}])


def read_items(
    spec: KernelSpec, x: ArrayLike, x2: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return row items and column items as arrays, or refuse what a kernel cannot be computed of.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    x : array_like, (n, *item_shape)
        Row items.
    x2 : array_like, (m, *item_shape), optional
        Column items.

    Returns
    -------
    (ndarray, ndarray or None)
        Of the dtypes they came in.

    Raises
    ------
    SpecError
        As :func:`check_items`; ShapeError also when the layers do not fit the items, or these
        not each other.
    """
    left = np.asarray(x)
    check_items(left, spec)
    infer_shapes(spec, left.shape[1:])
    if x2 is None:
        return left, None
    right = np.asarray(x2)
    check_items(right, spec, "x2")
    if right.shape[1:] != left.shape[1:]:
        msg = f"items of x have shape {left.shape[1:]}, items of x2 {right.shape[1:]}"
        raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])
    return left, right
