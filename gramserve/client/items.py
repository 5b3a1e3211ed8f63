"""Items on their way to a server: checked here first, sent as one `.npy` stream."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError

_PIECE_BYTES = 4 * 2**20
_REAL_KINDS = "biuf"


def items_of(source: ArrayLike | str | os.PathLike[str]) -> NDArray[Any]:
    """Return the items of an array or of an `.npy` file, which is mapped and not read.

    Parameters
    ----------
    source : array_like or path, shape (n, ...)
        Items first; any real dtype, order and endianness.

    Returns
    -------
    ndarray, shape (n, ...)
        The items as they are.

    Raises
    ------
    UnsupportedDtypeError
        For complex numbers, objects, strings and structures.
    ShapeError
        When there are no two axes.
    InvalidDataError
        When the file cannot be read, or there are no items.
    """
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    values = np.asarray(source) if path is None else _mapped(path)
    if values.dtype.kind not in _REAL_KINDS:
        msg = (
            f"items of dtype {values.dtype} are not real numbers; pass integers, floats or "
            "booleans, for example x.astype(np.float32)"
        )
        raise UnsupportedDtypeError(msg, errors=_faults(msg))
    if values.ndim < 2:
        msg = f"x has shape {values.shape}; items come first, so it needs at least two axes"
        raise ShapeError(msg, errors=_faults(msg))
    if values.size == 0:
        msg = f"x has shape {values.shape} and holds no items"
        raise InvalidDataError(msg, errors=_faults(msg))
    return values


def check_finite(values: NDArray[Any]) -> None:
    """Refuse items that hold NaN or infinity.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        Items of a real dtype.

    Raises
    ------
    InvalidDataError
        Names the first bad item.
    """
    if values.dtype.kind != "f":
        return
    for start, stop in _runs(values):
        finite = np.isfinite(values[start:stop]).reshape(stop - start, -1).all(axis=1)
        if not finite.all():
            item = start + int(np.argmin(finite))
            msg = (
                f"item {item} holds NaN or infinity; every number must be finite, "
                "see np.isfinite and np.nan_to_num"
            )
            raise InvalidDataError(msg, errors=_faults(msg, f"items[{item}]"), item=item)


def npy_header(values: NDArray[Any]) -> bytes:
    """Return the `.npy` header of these items in little-endian C order.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        Items of a real dtype.

    Returns
    -------
    bytes
        Magic, version and dictionary.
    """
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(values.dtype.newbyteorder("<"))
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": description, "fortran_order": False, "shape": values.shape}
    )
    return buffer.getvalue()


def npy_pieces(values: NDArray[Any]) -> Iterator[bytes]:
    """Yield the items as an `.npy` file, little-endian and in C order, a few MiB at a time.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        Items of a real dtype; may be a memory map, and is never copied whole.

    Yields
    ------
    bytes
        The header, then whole items.
    """
    yield npy_header(values)
    for start, stop in _runs(values):
        yield values[start:stop].astype(values.dtype.newbyteorder("<"), order="C").tobytes()


def _faults(message: str, place: str = "items") -> list[dict[str, str]]:
    return [{"loc": place, "message": message}]


def _runs(values: NDArray[Any]) -> Iterator[tuple[int, int]]:
    step = max(1, _PIECE_BYTES * len(values) // max(values.nbytes, 1))
    for start in range(0, len(values), step):
        yield start, min(start + step, len(values))


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        msg = f"{path}: no such file; give an array saved with np.save"
        raise InvalidDataError(msg, path=str(path)) from None
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error):
            msg = f"{path} holds Python objects; save an array of integers or floats instead"
            raise UnsupportedDtypeError(msg, path=str(path), dtype="object") from None
        why = f"it is truncated ({error})" if "mmap length" in str(error) else str(error)
        msg = f"{path} cannot be read as an .npy file: {why}; save it again with np.save"
        raise InvalidDataError(msg, path=str(path)) from None
