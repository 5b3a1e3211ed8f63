import re

import httpx
import numpy as np
import pytest
import zarr
from matrix_server import gram_report

from gramserve.client.connection import Connection
from gramserve.client.gram import Gram
from gramserve.client.remote import RemoteStore
from gramserve.errors import BlockMissingError, StoreError, StoreNotFoundError

MATRIX = np.arange(64, dtype=np.float32).reshape(8, 8)
PREFIX = "/v1/grams/" + "0" * 32


def serve_files(folder, seen):
    """Return an answer to every request for the keys of a stored array, as the server gives it."""

    def handler(request):
        seen.append(request)
        key = request.url.path.removeprefix(f"{PREFIX}/zarr/")
        if request.url.path == PREFIX:
            return httpx.Response(200, json=gram_report(MATRIX).model_dump(mode="json"))
        path = folder / key
        if not path.is_file():
            if re.fullmatch(r"c/[01]/[01]", key):
                return httpx.Response(
                    409, json={"code": "block_missing", "detail": f"{key} misses"}
                )
            return httpx.Response(404, json={"code": "not_found", "detail": f"no key {key}"})
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if wanted is None:
            return httpx.Response(200, content=content)
        first, last = wanted.groups()
        if not first:
            return httpx.Response(206, content=content[-int(last) :])
        return httpx.Response(206, content=content[int(first) : int(last) + 1 if last else None])

    return handler


@pytest.fixture
def stored(tmp_path):
    """Write an array of four shards, of which the last is missing; return its gram and folder."""
    array = zarr.create_array(
        store=str(tmp_path / "g"),
        shape=(8, 8),
        shards=(4, 4),
        chunks=(2, 4),
        dtype="float32",
        fill_value=float("nan"),
        compressors=None,
    )
    array[:] = MATRIX
    (tmp_path / "g" / "c" / "1" / "1").unlink()
    seen = []
    transport = httpx.MockTransport(serve_files(tmp_path / "g", seen))
    connection = Connection("http://gram.test", "the-key", transport=transport)
    return Gram(connection, gram_report(MATRIX)), seen


def test_what_is_stored_is_read(stored):
    gram, seen = stored
    array = gram.zarr()
    np.testing.assert_array_equal(array[:4], MATRIX[:4])
    np.testing.assert_array_equal(array[1, 2:7], MATRIX[1, 2:7])
    assert {request.headers["Authorization"] for request in seen} == {"Bearer the-key"}
    assert any("Range" in request.headers for request in seen)


def test_a_missing_block_raises_the_servers_error_and_is_never_nan(stored):
    array = stored[0].zarr()
    for part in (np.s_[:], np.s_[6], np.s_[4, 4]):
        with pytest.raises(BlockMissingError, match="c/1/1"):
            array[part]


def test_writing_and_listing_are_refused(stored):
    array = stored[0].zarr()
    with pytest.raises(StoreError, match="read-only"):
        array[0, 0] = 1
    store = array.store
    assert isinstance(store, RemoteStore)
    assert store.read_only
    assert "zarr" in str(store)
    assert store == RemoteStore(store._connection, "0" * 32)
    assert hash(store) == hash(RemoteStore(store._connection, "0" * 32))
    assert store != RemoteStore(store._connection, "1" * 32)


async def test_the_store_says_what_it_does_not_do(stored):
    store = stored[0].zarr().store
    assert await store.exists("zarr.json")
    assert not await store.exists("no-such-key")
    with pytest.raises(StoreError, match="read-only"):
        await store.delete("zarr.json")
    with pytest.raises(StoreError, match="listing"):
        [key async for key in store.list()]
    with pytest.raises(StoreError, match="listing"):
        [key async for key in store.list_dir("")]


def test_an_unknown_gram_matrix_is_not_found():
    answer = httpx.Response(404, json={"code": "not_found", "detail": "no Gram matrix"})
    connection = Connection("http://gram.test", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(StoreNotFoundError, match="no Gram matrix"):
        Gram(connection, gram_report(MATRIX)).zarr()
