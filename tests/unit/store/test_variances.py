import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    NonFiniteKernelError,
    RowRangeError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.store import VarianceStore

KEY = VarianceStore.key("d" * 64, "n" * 64, "float32", "reference")


@pytest.fixture
def store(tmp_path: Path) -> VarianceStore:
    made = VarianceStore(tmp_path / "variances")
    made.create(KEY, items=11, length=5, dtype="float64", segment=4)
    return made


def test_every_part_of_the_key_counts() -> None:
    given = ("d" * 64, "n" * 64, "float32", "reference")
    changed = [(*given[:n], "x", *given[n + 1 :]) for n in range(4)]
    assert len({VarianceStore.key(*parts) for parts in (given, *changed)}) == 5
    assert len(KEY) == 64


def test_segments_are_written_one_by_one(store: VarianceStore) -> None:
    values = np.random.default_rng(0).normal(size=(11, 5))
    assert store.segment_count(KEY) == 3
    assert store.missing_segments(KEY) == [0, 1, 2]
    for segment in (2, 0):
        start, stop = store.segment_range(KEY, segment)
        store.write_segment(KEY, segment, values[start:stop])
    assert store.missing_segments(KEY) == [1]
    np.testing.assert_array_equal(store.read(KEY, 8, 11), values[8:])
    np.testing.assert_array_equal(store.read(KEY, 1, 4), values[1:4])
    with pytest.raises(BlockMissingError) as caught:
        store.read(KEY)
    assert caught.value.context["segments"] == [1]
    with pytest.raises(BlockMissingError):
        store.read(KEY, 3, 5)
    store.write_segment(KEY, 1, values[4:8])
    np.testing.assert_array_equal(store.read(KEY), values)
    store.drop_segment(KEY, 2)
    assert store.missing_segments(KEY) == [2]


def test_create_again_keeps_what_is_stored(store: VarianceStore) -> None:
    store.write_segment(KEY, 0, np.ones((4, 5)))
    store.create(KEY, items=11, length=5, dtype="float64", segment=7)
    assert store.segment_range(KEY, 0) == (0, 4)
    assert store.missing_segments(KEY) == [1, 2]
    for change in ({"items": 12}, {"length": 4}, {"dtype": "float32"}):
        asked = {"items": 11, "length": 5, "dtype": "float64", "segment": 4} | change
        with pytest.raises(StoreMismatchError, match="remove it"):
            store.create(KEY, **asked)


def test_refused(store: VarianceStore) -> None:
    with pytest.raises(StoreMismatchError):
        store.write_segment(KEY, 2, np.ones((4, 5)))
    with pytest.raises(RowRangeError):
        store.write_segment(KEY, 3, np.ones((4, 5)))
    with pytest.raises(RowRangeError):
        store.segment_range(KEY, -1)
    bad = np.ones((4, 5))
    bad[2, 1] = np.nan
    with pytest.raises(NonFiniteKernelError, match="item 6 "):
        store.write_segment(KEY, 1, bad)
    assert store.missing_segments(KEY) == [0, 1, 2]
    for key in ("0" * 64, "..", KEY + "/../" + KEY):
        with pytest.raises(StoreNotFoundError):
            store.read(key)
        assert not store.has(key)
    with pytest.raises(StoreMismatchError, match="floating-point"):
        store.create("0" * 64, items=1, length=1, dtype="int64", segment=1)
    with pytest.raises(StoreMismatchError, match="at least 1"):
        store.create("0" * 64, items=1, length=0, dtype="float64", segment=1)


def test_damage_is_found(store: VarianceStore) -> None:
    store.write_segment(KEY, 0, np.ones((4, 5)))
    path = store.root / KEY / "c" / "0" / "0"
    good = path.read_bytes()
    for bad in (good[:-1], b"", good[:9] + b"x" + good[10:]):
        path.write_bytes(bad)
        with pytest.raises(CorruptBlockError):
            store.read(KEY, 0, 4)


def _write(root: str, segment: int) -> None:
    store = VarianceStore(root)
    start, stop = store.segment_range(KEY, segment)
    store.write_segment(KEY, segment, np.full((stop - start, 5), segment, float))


def test_processes_write_segments(store: VarianceStore) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(str(store.root), n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    np.testing.assert_array_equal(store.read(KEY)[:, 0], np.arange(11) // 4)


def test_sweep_and_delete(store: VarianceStore) -> None:
    store.write_segment(KEY, 0, np.ones((4, 5)))
    (store.root / KEY / "c" / "0" / "0.abc.partial").write_text("")
    (store.root / KEY / "zarr.json.abc.partial").write_text("")
    assert store.sweep() == 2
    assert store.delete(KEY)
    assert not store.delete(KEY)
    assert not store.has(KEY)
    assert VarianceStore(store.root / "nowhere").sweep() == 0
