"""The stored Zarr array of a Gram matrix, read through the server."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)

from gramserve.client.connection import Connection
from gramserve.errors import StoreError, StoreNotFoundError

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

_CONCURRENT_READS = 8


class RemoteStore(Store):
    """A read-only Zarr store over the client's own connection.

    Zarr's own HTTP stores work too (``docs/client.md``), but need further packages and report
    a block that is not computed yet in their own words; this one raises
    :class:`~gramserve.errors.BlockMissingError`.

    Parameters
    ----------
    connection : Connection
        To the server; carries the key.
    gram_id : str
        Which Gram matrix.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, connection: Connection, gram_id: str) -> None:
        super().__init__(read_only=True)
        self._connection = connection
        self._root = f"/v1/grams/{gram_id}/zarr"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RemoteStore)
            and other._root == self._root
            and other._connection.url == self._connection.url
        )

    def __hash__(self) -> int:
        return hash((self._connection.url, self._root))

    def __str__(self) -> str:
        return f"{self._connection.url}{self._root}"

    def __repr__(self) -> str:
        return f"RemoteStore({str(self)!r})"

    async def get(
        self, key: str, prototype: "BufferPrototype", byte_range: ByteRequest | None = None
    ) -> "Buffer | None":
        """Return the bytes of a key, None when it cannot exist."""
        content = await asyncio.to_thread(self._read, key, byte_range)
        return None if content is None else prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self,
        prototype: "BufferPrototype",
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> "list[Buffer | None]":
        """Return the bytes of several ranges."""
        limit = asyncio.Semaphore(_CONCURRENT_READS)

        async def one(key: str, byte_range: ByteRequest | None) -> "Buffer | None":
            async with limit:
                return await self.get(key, prototype, byte_range)

        return list(await asyncio.gather(*(one(key, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether a key is stored."""
        return await asyncio.to_thread(self._read, key, None) is not None

    async def set(self, key: str, value: "Buffer") -> None:
        """Refuse: Gram matrices are written by the server alone."""
        raise self._refusal(f"writing {len(value)} bytes to {key}")

    async def delete(self, key: str) -> None:
        """Refuse: Gram matrices are deleted by the server alone."""
        raise self._refusal(f"deleting {key}")

    async def list(self) -> AsyncIterator[str]:
        """Refuse: keys follow from the array's shape."""
        raise self._refusal("a listing")
        yield ""

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse: keys follow from the array's shape."""
        raise self._refusal("a listing")
        yield prefix

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse: keys follow from the array's shape."""
        raise self._refusal("a listing")
        yield prefix

    def _refusal(self, what: str) -> StoreError:
        return StoreError(f"{self} is read-only and by key: {what} is refused")

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        headers = {"Accept-Encoding": "identity", **_range_header(byte_range)}

        def once() -> bytes:
            with self._connection.stream("GET", f"{self._root}/{key}", headers=headers) as response:
                return response.read()

        try:
            return self._connection.repeat(once)
        except StoreNotFoundError:
            return None


def _range_header(byte_range: ByteRequest | None) -> dict[str, str]:
    match byte_range:
        case RangeByteRequest(start=start, end=end):
            return {"Range": f"bytes={start}-{end - 1}"}
        case OffsetByteRequest(offset=offset):
            return {"Range": f"bytes={offset}-"}
        case SuffixByteRequest(suffix=suffix):
            return {"Range": f"bytes=-{suffix}"}
        case _:
            return {}


def open_remote(connection: Connection, gram_id: str) -> "zarr.Array[Any]":
    """Open the stored array of a Gram matrix over HTTP.

    Parameters
    ----------
    connection : Connection
        To the server.
    gram_id : str
        Which Gram matrix.

    Returns
    -------
    zarr.Array
        Read-only; raises :class:`~gramserve.errors.BlockMissingError` where blocks are missing.

    Raises
    ------
    StoreNotFoundError
        When the server has no such Gram matrix.
    """
    # Asked first, so that an unknown id is the server's own error and not Zarr's.
    connection.get(f"/v1/grams/{gram_id}")
    store = RemoteStore(connection, gram_id)
    # The server refuses missing blocks; should a key be lost on the way, Zarr refuses it too.
    return zarr.open_array(store, mode="r", zarr_format=3, config={"read_missing_chunks": False})
