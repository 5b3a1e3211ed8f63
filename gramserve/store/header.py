"""What a stored Gram matrix says of itself: the ``zarr.json`` of its array."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.errors import BaseZarrError, NodeTypeValidationError
from zarr.storage import MemoryStore

from gramserve.errors import (
    CorruptBlockError,
    RowRangeError,
    StoreError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.store.files import reporting
from gramserve.store.shards import ShardLayout, strip_rows

FORMAT = "gramserve.gram/1"
"""Version of the stored form; raised when old readers would misread it."""

METADATA = "zarr.json"
"""Name of the metadata object of an array or group."""


@dataclass(frozen=True)
class GramHeader:
    """Shape, layout and description of a stored Gram matrix.

    Raises
    ------
    StoreError
        If the shape, dtype or block size cannot be stored.
    """

    shape: tuple[int, int]
    """Rows and columns, each at least 1."""
    dtype: np.dtype[Any]
    """float32 or float64."""
    block_size: int
    """Rows and columns of a block."""
    symmetric: bool
    """Whether block (j, i) is the transpose of block (i, j)."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What the matrix is: plain JSON, compared when the matrix is opened again to be filled."""

    def __post_init__(self) -> None:
        rows, columns = (int(n) for n in self.shape)
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if rows < 1 or columns < 1 or self.block_size < 1:
            raise StoreError(
                f"a Gram matrix of {rows} x {columns} in blocks of {self.block_size} cannot be "
                "stored: each must be at least 1"
            )
        if dtype not in (np.dtype("<f4"), np.dtype("<f8")):
            raise StoreError(
                f"a Gram matrix of {dtype.name} cannot be stored; use float32 or float64"
            )
        if self.symmetric and rows != columns:
            raise StoreError(f"a matrix of {rows} x {columns} cannot be symmetric")
        object.__setattr__(self, "shape", (rows, columns))
        object.__setattr__(self, "dtype", dtype)
        # As it will be read back: tuples become lists, keys strings.
        plain = json.loads(json.dumps(dict(self.attributes), allow_nan=False))
        object.__setattr__(self, "attributes", plain)

    @cached_property
    def layout(self) -> ShardLayout:
        """Where things are in a block's file."""
        return ShardLayout(self.block_size, self.dtype)

    @property
    def panels(self) -> tuple[int, int]:
        """Panels of rows and of columns."""
        return -(-self.shape[0] // self.block_size), -(-self.shape[1] // self.block_size)

    @property
    def block_count(self) -> int:
        """Blocks to compute: the upper triangle of a symmetric matrix."""
        down, across = self.panels
        return down * (down + 1) // 2 if self.symmetric else down * across

    def canonical(self, i: int, j: int) -> tuple[int, int]:
        """Return the block that is computed for block (i, j).

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.

        Returns
        -------
        tuple of int
            ``(j, i)`` below the diagonal of a symmetric matrix, else ``(i, j)``.
        """
        return (j, i) if self.symmetric and i > j else (i, j)

    def extent(self, i: int, j: int) -> tuple[int, int]:
        """Return how much of block (i, j) lies inside the matrix.

        Parameters
        ----------
        i, j : int
            Panel of the rows and of the columns.

        Returns
        -------
        tuple of int
            Rows and columns.

        Raises
        ------
        RowRangeError
            If there is no such block.
        """
        down, across = self.panels
        if not (0 <= i < down and 0 <= j < across):
            raise RowRangeError(
                f"no block ({i}, {j}): the matrix has {down} x {across} blocks", block=[i, j]
            )
        size = self.block_size
        return min(size, self.shape[0] - i * size), min(size, self.shape[1] - j * size)

    def encode(self) -> bytes:
        """Return the ``zarr.json`` of the array.

        Returns
        -------
        bytes
            JSON in UTF-8.
        """
        written: dict[str, Any] = {}
        zarr.create_array(
            store=MemoryStore(written),
            shape=self.shape,
            dtype=self.dtype,
            shards=(self.block_size, self.block_size),
            chunks=(strip_rows(self.block_size), self.block_size),
            filters=None,
            compressors=[Crc32cCodec()],
            serializer=BytesCodec(endian="little"),
            fill_value=float("nan"),
            attributes={
                "gramserve": {
                    "format": FORMAT,
                    "block_size": self.block_size,
                    "symmetric": self.symmetric,
                    "description": dict(self.attributes),
                }
            },
        )
        return bytes(written[METADATA].to_bytes())

    @classmethod
    def read(cls, path: Path) -> "GramHeader":
        """Read the header of a stored Gram matrix.

        Parameters
        ----------
        path : Path
            Directory of the array.

        Returns
        -------
        GramHeader
            As it was written.

        Raises
        ------
        StoreNotFoundError
            If there is no array.
        StoreMismatchError
            If the array is not a Gram matrix of this format.
        CorruptBlockError
            If its metadata cannot be read.
        """
        if not (path / METADATA).is_file():
            raise StoreNotFoundError(f"no Gram matrix at {path}", path=str(path))
        with reporting("open", path):
            try:
                array = zarr.open_array(str(path), mode="r", zarr_format=3)
            except FileNotFoundError as error:  # it was evicted a moment ago
                raise StoreNotFoundError(f"no Gram matrix at {path}", path=str(path)) from error
            except NodeTypeValidationError as error:
                raise StoreMismatchError(
                    f"{path} holds no Zarr array ({error}); give another path", path=str(path)
                ) from error
            except (ValueError, KeyError, TypeError, BaseZarrError) as error:
                raise CorruptBlockError(
                    f"cannot read {path / METADATA}: {error}", path=str(path / METADATA)
                ) from error
        own = array.attrs.asdict().get("gramserve")
        if not isinstance(own, Mapping) or own.get("format") != FORMAT:
            found = own.get("format") if isinstance(own, Mapping) else "another Zarr array"
            raise StoreMismatchError(
                f"{path} holds {found}, not {FORMAT}; give another path", path=str(path)
            )
        try:
            header = cls(
                shape=array.shape,  # type: ignore[arg-type]
                dtype=np.dtype(array.dtype),
                block_size=int(own["block_size"]),  # type: ignore[arg-type]
                symmetric=bool(own["symmetric"]),
                attributes=own["description"],  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptBlockError(
                f"cannot read {path / METADATA}: {error}", path=str(path / METADATA)
            ) from error
        if not _has_our_bytes(array, header):
            raise StoreMismatchError(
                f"{path} is stored with other codecs or chunks than {FORMAT}; copy it into a new "
                "Gram matrix",
                path=str(path),
            )
        return header

    def differences(self, other: "GramHeader") -> list[str]:
        """Say where two headers differ.

        Parameters
        ----------
        other : GramHeader
            What was asked for.

        Returns
        -------
        list of str
            One line for every field, ``"block_size is 64, not 128"``.
        """
        found: list[str] = []
        for name in ("shape", "dtype", "block_size", "symmetric"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{name} is {mine}, not {theirs}")
        found += _differing("", self.attributes, other.attributes)
        return found


def _has_our_bytes(array: zarr.Array[Any], header: GramHeader) -> bool:
    size = header.block_size
    if array.metadata.zarr_format != 3 or len(array.metadata.codecs) != 1:
        return False
    sharding = array.metadata.codecs[0]
    return (
        isinstance(sharding, ShardingCodec)
        and array.shards == (size, size)
        and tuple(sharding.chunk_shape) == (strip_rows(size), size)
        and tuple(sharding.codecs) == (BytesCodec(endian="little"), Crc32cCodec())
        and tuple(sharding.index_codecs) == (BytesCodec(endian="little"), Crc32cCodec())
        and str(sharding.index_location) == "end"
        and array.metadata.encode_chunk_key((0, 0)) == "c/0/0"
    )


def _differing(place: str, mine: Any, theirs: Any) -> list[str]:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        found: list[str] = []
        for key in sorted(mine.keys() | theirs.keys()):
            found += _differing(f"{place}.{key}" if place else key, mine.get(key), theirs.get(key))
        return found
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        entries = zip(mine, theirs, strict=True)
        return [
            difference
            for index, (one, other) in enumerate(entries)
            for difference in _differing(f"{place}[{index}]", one, other)
        ]
    if isinstance(mine, list) and isinstance(theirs, list):
        return [f"{place} has {len(mine)} entries, not {len(theirs)}"]
    return [] if mine == theirs else [f"{place} is {_short(mine)}, not {_short(theirs)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
