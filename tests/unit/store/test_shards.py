from pathlib import Path

import numpy as np
import pytest
import zarr

from gramserve.store.header import GramHeader
from gramserve.store.shards import ShardLayout, strip_rows


@pytest.mark.parametrize(
    ("block_size", "rows"),
    [(1, 1), (2, 2), (63, 63), (64, 64), (65, 13), (66, 33), (67, 1), (128, 64), (1024, 64)],
)
def test_strip_rows(block_size: int, rows: int) -> None:
    assert strip_rows(block_size) == rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (12, 5), (7, 12), (1, 1), (11, 3)])
def test_bytes_are_those_that_zarr_writes(
    tmp_path: Path, dtype: str, rows: int, columns: int
) -> None:
    # 130 rows make a strip of 26, so blocks of several strips; the second matrix is one block
    # that may be larger than the matrix.
    for block_size, scale in ((12, 1), (130, 10)):
        shape = (min(130, rows * scale), min(130, columns * scale))
        values = np.random.default_rng(0).normal(size=shape).astype(dtype)
        header = GramHeader(shape, np.dtype(dtype), block_size, False)
        path = tmp_path / str(block_size)
        path.mkdir()
        (path / "zarr.json").write_bytes(header.encode())
        array = zarr.open_array(str(path), mode="r+", config={"write_empty_chunks": True})
        array[...] = values
        written = (path / "c" / "0" / "0").read_bytes()
        layout = header.layout
        ours = b"".join(layout.encode(values))
        assert len(ours) == layout.shard_bytes(shape[0])
        assert written == ours
        np.testing.assert_array_equal(layout.decode(ours, *shape), values)


def test_big_endian_values_are_stored_little_endian() -> None:
    values = np.arange(16, dtype=">f8").reshape(4, 4)
    layout = ShardLayout(4, "f8")
    np.testing.assert_array_equal(layout.decode(b"".join(layout.encode(values)), 4, 4), values)


def test_every_flipped_bit_that_matters_is_found() -> None:
    layout = ShardLayout(130, "f4")
    values = np.ones((130, 130), "f4")
    good = b"".join(layout.encode(values))
    for place in range(0, len(good), 997):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(ValueError, match="does not match"):
            layout.decode(bytes(bad), 130, 130)


@pytest.mark.parametrize("entry", [(2**64 - 1, 2**64 - 1), (2**63, None), (1, None), (0, 5)])
def test_an_index_that_lies_is_refused(entry: tuple[int, int | None]) -> None:
    from gramserve.store.checksums import crc32c_bytes

    layout = ShardLayout(4, "f4")
    good = b"".join(layout.encode(np.ones((4, 4), "f4")))
    length = layout.strip_bytes if entry[1] is None else entry[1]
    index = np.array([entry[0], length], "<u8").tobytes()
    bad = good[: layout.strip_bytes] + index + crc32c_bytes(index)
    assert len(bad) == len(good)
    with pytest.raises(ValueError, match="index"):
        layout.decode(bad, 4, 4)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_shard_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="bytes instead of"):
        ShardLayout(16, "f4").decode(bytes(length), 16, 16)
