import io
from pathlib import Path

import numpy as np
import pytest

from gramserve import rows
from gramserve.errors import BlockMissingError, RowRangeError
from gramserve.store import GramStore


@pytest.fixture
def dense() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(25, 25)).astype("f4")
    return values + values.T


@pytest.fixture
def gram(tmp_path: Path, dense: np.ndarray) -> GramStore:
    store = GramStore.create(
        tmp_path / "g", shape=(25, 25), dtype="f4", block_size=8, symmetric=True
    )
    for i, j in store.planned_blocks():
        store.write_block(i, j, dense[i * 8 : i * 8 + 8, j * 8 : j * 8 + 8])
    return store


def test_selection(gram: GramStore, dense: np.ndarray) -> None:
    selection = rows.select(gram, [3, 20, 3], slice(5, 9))
    assert selection.shape == (3, 4)
    assert selection.nbytes == 48
    assert selection.dtype == np.dtype("<f4")
    assert selection.missing_blocks() == []
    np.testing.assert_array_equal(selection.read(), dense[[3, 20, 3], 5:9])
    np.testing.assert_array_equal(rows.select(gram).read(), dense)


@pytest.mark.parametrize("piece_bytes", [1, 99, 100, 250, 10_000])
@pytest.mark.parametrize("asked", [None, slice(3, 20), [24, 0, 7, 7, 1], range(0, 25, 6)])
def test_pieces_follow_each_other(
    gram: GramStore, dense: np.ndarray, piece_bytes: int, asked: object
) -> None:
    selection = rows.select(gram, asked)  # type: ignore[arg-type]
    expected = (
        dense if asked is None else dense[list(asked) if not isinstance(asked, slice) else asked]
    )
    position, data = 0, b""
    for where, piece in selection.pieces(piece_bytes):
        assert where.start == position
        assert len(piece) == (where.stop - where.start) * 100
        assert len(piece) <= max(piece_bytes, 100)
        position, data = where.stop, data + piece
    assert position == len(expected)
    assert data == np.ascontiguousarray(expected).tobytes()
    assert len(data) == selection.nbytes


def test_nothing_selected(gram: GramStore) -> None:
    assert list(rows.select(gram, []).pieces()) == []
    assert b"".join(piece for _, piece in rows.select(gram, None, []).pieces()) == b""


def test_missing_blocks_are_told_before_the_first_piece(gram: GramStore) -> None:
    gram.drop_block(0, 2)
    gram.drop_block(3, 2)
    selection = rows.select(gram, slice(0, 20))
    assert selection.missing_blocks() == [(0, 2), (2, 3)]
    with pytest.raises(BlockMissingError) as caught:
        selection.pieces()
    assert caught.value.context["blocks"] == [[0, 2], [2, 3]]
    with pytest.raises(BlockMissingError) as caught:
        selection.read()
    assert caught.value.context["blocks"] == [[0, 2], [2, 3]]
    assert len(list(rows.select(gram, [8, 9]).pieces())) == 1


def test_outside(gram: GramStore) -> None:
    with pytest.raises(RowRangeError, match="rows 25: there are 25"):
        rows.select(gram, [25])
    with pytest.raises(RowRangeError, match="columns -1"):
        rows.select(gram, None, [-1])


def test_npy(gram: GramStore, dense: np.ndarray) -> None:
    selection = rows.select(gram, slice(2, 9))
    body = rows.npy_header(selection.shape, selection.dtype) + b"".join(
        piece for _, piece in selection.pieces(300)
    )
    found = np.load(io.BytesIO(body), allow_pickle=False)
    assert found.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(found, dense[2:9])
    saved = io.BytesIO()
    np.save(saved, dense[2:9])
    assert saved.getvalue() == body


def test_encode() -> None:
    values = np.arange(6, dtype=">f8").reshape(2, 3)
    assert rows.encode(values) == values.astype("<f8").tobytes()
    assert rows.encode(np.asfortranarray(values)) == values.astype("<f8").tobytes()
