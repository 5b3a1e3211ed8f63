"""Opening ``.npy`` files without trusting them."""

import math
import os
import re
import struct
from ast import literal_eval
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import InvalidDataError, UnsupportedDtypeError
from gramserve.store.files import reporting

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_MOST_AXES = 32
_REAL = re.compile(r"[<>|=]?(\?|[biuf][0-9]{1,2})", re.ASCII)
_REMEDY = "write it with numpy.save"


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file says."""

    shape: tuple[int, ...]
    """Items first."""
    dtype: np.dtype[Any]
    """Any dtype without Python objects."""
    is_fortran: bool
    """Whether the first index runs fastest."""
    offset: int
    """Bytes before the data."""

    @property
    def file_bytes(self) -> int:
        """Bytes that the file must have."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(file: BinaryIO) -> NpyHeader:
    """Read the header of a ``.npy`` file; nothing in it is executed.

    Parameters
    ----------
    file : binary file
        At its beginning; left at the beginning of the data.

    Returns
    -------
    NpyHeader
        Checked, except against the length of the file.

    Raises
    ------
    InvalidDataError
        If this is no ``.npy`` header.
    UnsupportedDtypeError
        If the dtype is structured or holds Python objects.

    References
    ----------
    NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".
    """
    start = file.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise InvalidDataError(f"this is no .npy file: it begins with {start[:6]!r}; {_REMEDY}")
    major = start[6]
    if major not in {1, 2, 3}:
        raise InvalidDataError(f"version {major} of the .npy format is not known; {_REMEDY}")
    width = 2 if major == 1 else 4
    counted = file.read(width)
    if len(counted) < width:
        raise InvalidDataError("the .npy file ends inside its header")
    (length,) = struct.unpack("<H" if major == 1 else "<I", counted)
    if length > _LONGEST_HEADER:
        raise InvalidDataError(f"a .npy header of {length:,} bytes is not read; {_REMEDY}")
    text = file.read(length)
    if len(text) < length:
        raise InvalidDataError("the .npy file ends inside its header")
    return _parse(text, "utf-8" if major == 3 else "latin-1", 8 + width + length)


def _parse(text: bytes, encoding: str, offset: int) -> NpyHeader:
    try:
        said = literal_eval(text.decode(encoding).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidDataError(f"the .npy header cannot be read: {error}; {_REMEDY}") from error
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise InvalidDataError(f"the .npy header lacks its fields; {_REMEDY}")
    shape, is_fortran = said["shape"], said["fortran_order"]
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_AXES
        or not all(type(n) is int and n >= 0 for n in shape)
        or not isinstance(is_fortran, bool)
    ):
        raise InvalidDataError(f"the .npy header has the shape {shape!r}; {_REMEDY}")
    return NpyHeader(shape, _dtype_of(said["descr"]), is_fortran, offset)


def _dtype_of(descr: object) -> np.dtype[Any]:
    if not isinstance(descr, str):
        raise UnsupportedDtypeError(
            "items must be real numbers, not records of a structured dtype; pick one field"
        )
    if not _REAL.fullmatch(descr):
        raise UnsupportedDtypeError(
            f"items must be real numbers, not of dtype {descr!r}; convert them first"
        )
    try:
        return np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"the .npy header has the dtype {descr!r}; {_REMEDY}") from error


def open_npy(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, for reading.

    Parameters
    ----------
    path : Path
        The file; it must not be shortened while the array is in use.

    Returns
    -------
    ndarray
        In the dtype and order of the file.

    Raises
    ------
    InvalidDataError
        If the header cannot be read, the file is shorter or longer than it says, or there are
        no items.
    UnsupportedDtypeError
        If the items are not real numbers.
    StoreError
        If the file cannot be read.
    """
    with reporting("read", path), path.open("rb") as file:
        header = read_npy_header(file)
        size = os.fstat(file.fileno()).st_size
        if size != header.file_bytes:
            what = "cut short" if size < header.file_bytes else "followed by other bytes"
            raise InvalidDataError(
                f"the .npy file is {what}: it has {size:,} bytes, and its header asks for "
                f"{header.file_bytes:,}",
                bytes=size,
                expected_bytes=header.file_bytes,
            )
        if size == header.offset:
            raise InvalidDataError(f"there are no items in an array of shape {header.shape}")
        return np.memmap(
            file,
            dtype=header.dtype,
            mode="r",
            offset=header.offset,
            shape=header.shape,
            order="F" if header.is_fortran else "C",
        )
