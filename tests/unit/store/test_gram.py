"""Creating a Gram matrix and reading it by rows."""

import contextlib
import hashlib
import os
import pickle
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    RowRangeError,
    StoreError,
    StoreMismatchError,
    StoreNotFoundError,
)
from gramserve.store import GramStore
from gramserve.store.shard_files import OPEN_SHARDS, ShardFiles

Matrix = tuple[GramStore, np.ndarray]
Fill = Callable[[GramStore, np.ndarray], None]

DESCRIPTION = {
    "shape": (8, 8),
    "dtype": "float32",
    "block_size": 4,
    "symmetric": True,
    "attributes": {"kernel": {"layers": [1, 2]}, "dataset": "a"},
}


def open_below(folder: Path) -> int:
    """Count the descriptors of this process that are of files in a folder."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += entry.readlink().is_relative_to(folder)
    return count


def test_create_twice_is_one(tmp_path: Path) -> None:
    store = GramStore.create(tmp_path / "g", **DESCRIPTION)
    store.write_block(0, 1, np.ones((4, 4), "f4"))
    again = GramStore.create(tmp_path / "g", **DESCRIPTION)
    assert again.stored_blocks() == {(0, 1)}
    assert again.attributes == DESCRIPTION["attributes"]
    assert GramStore.open(str(tmp_path / "g")).header == store.header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (9, 9)}, r"shape is \(8, 8\), not \(9, 9\)"),
        ({"dtype": "float64"}, "dtype is float32, not float64"),
        ({"block_size": 2}, "block_size is 4, not 2"),
        ({"symmetric": False}, "symmetric is True, not False"),
        (
            {"attributes": {"kernel": {"layers": [1]}, "dataset": "a"}},
            "kernel.layers has 2 entries, not 1",
        ),
        (
            {"attributes": {"kernel": {"layers": [1, 3]}, "dataset": "a"}},
            r"kernel.layers\[1\] is 2, not 3",
        ),
        ({"attributes": {"kernel": {"layers": [1, 2]}}}, 'dataset is "a", not null'),
    ],
)
def test_other_content_is_refused_by_field(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    GramStore.create(tmp_path / "g", **DESCRIPTION)
    with pytest.raises(StoreMismatchError, match=message) as caught:
        GramStore.create(tmp_path / "g", **(DESCRIPTION | change))
    assert len(caught.value.context["differences"]) == 1


def test_creation_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "zarr.json.0f0f.partial").write_bytes(b'{"sha')
    store = GramStore.create(tmp_path / "g", **DESCRIPTION)
    assert store.sweep() == 1
    assert [p.name for p in store.path.iterdir()] == ["zarr.json"]


def test_creators_at_once_agree(tmp_path: Path) -> None:
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def create(block_size: int) -> None:
        start.wait()
        try:
            outcomes.append(
                GramStore.create(
                    tmp_path / "g", **(DESCRIPTION | {"block_size": block_size})
                ).block_size
            )
        except StoreMismatchError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create, args=(2 + 2 * (n % 2),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = GramStore.open(tmp_path / "g").block_size
    assert [o for o in outcomes if isinstance(o, int)] == [kept] * 4
    assert sum(isinstance(o, StoreMismatchError) for o in outcomes) == 4


def test_foreign_places_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(StoreMismatchError, match=r"thesis\.tex"):
        GramStore.create(tmp_path / "full", **DESCRIPTION)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        GramStore.create(tmp_path / "file", **DESCRIPTION)
    with pytest.raises(StoreError):
        GramStore.create(tmp_path / "file" / "below", **DESCRIPTION)
    zarr.create_array(str(tmp_path / "other"), shape=(8, 8), dtype="f4", chunks=(4, 4))
    with pytest.raises(StoreMismatchError, match="another Zarr array"):
        GramStore.create(tmp_path / "other", **DESCRIPTION)
    with pytest.raises(StoreNotFoundError):
        GramStore.open(tmp_path / "nothing")


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    store = GramStore.create(tmp_path / "g", **DESCRIPTION)
    attributes = store.array().attrs.asdict()
    zarr.create_array(
        str(tmp_path / "z"),
        shape=(8, 8),
        dtype="f4",
        shards=(4, 4),
        chunks=(4, 4),
        attributes=attributes,
    )
    with pytest.raises(StoreMismatchError, match="other codecs"):
        GramStore.open(tmp_path / "z")


@pytest.mark.parametrize("content", [b"", b"{", b'{"node_type": "array"}', b"\xff\xfe"])
def test_metadata_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    store = GramStore.create(tmp_path / "g", **DESCRIPTION)
    (store.path / "zarr.json").write_bytes(content)
    with pytest.raises(CorruptBlockError, match=r"zarr\.json"):
        GramStore.open(store.path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (0, 0)},
        {"block_size": 0},
        {"dtype": "int32"},
        {"dtype": "float16"},
        {"shape": (8, 9)},
    ],
)
def test_what_cannot_be_a_gram_matrix(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        GramStore.create(tmp_path / "g", **(DESCRIPTION | change))
    assert not (tmp_path / "g").exists()


def test_rows_and_columns(symmetric: Matrix, cross: Matrix) -> None:
    for store, dense in (symmetric, cross):
        np.testing.assert_array_equal(store.read(), dense)
        np.testing.assert_array_equal(store.read(3), dense[3:4])
        np.testing.assert_array_equal(store.read(slice(2, 9)), dense[2:9])
        np.testing.assert_array_equal(store.read([9, 0, 0, 5]), dense[[9, 0, 0, 5]])
        np.testing.assert_array_equal(store.read([1, 8], [6, 2, 2]), dense[[1, 8]][:, [6, 2, 2]])
        np.testing.assert_array_equal(store.read(None, slice(3, 6)), dense[:, 3:6])
        np.testing.assert_array_equal(store.read(slice(9, 0 + 9), 5), dense[9:9, 5:6])
        assert store.read([], []).shape == (0, 0)
        assert store.read([1], []).shape == (1, 0)
        assert store.read().dtype == dense.dtype
        np.testing.assert_array_equal(store.diagonal(), np.diagonal(dense))


def test_rows_outside_are_refused(cross: Matrix) -> None:
    store, _ = cross
    for rows, columns in (([10], None), ([-1], None), (None, [7]), (slice(0, 11), None)):
        with pytest.raises(RowRangeError):
            store.read(rows, columns)
        with pytest.raises(IndexError):
            store.missing_blocks(rows, columns)


def test_missing_blocks_are_named_never_filled(tmp_path: Path) -> None:
    store = GramStore.create(
        tmp_path / "g", shape=(11, 11), dtype="f4", block_size=4, symmetric=True
    )
    ones = np.ones((4, 4), "f4")
    store.write_block(0, 0, ones)
    store.write_block(0, 1, ones)
    np.testing.assert_array_equal(store.read([2], slice(0, 8)), np.ones((1, 8)))
    np.testing.assert_array_equal(store.read([5], slice(0, 4)), np.ones((1, 4)))
    with pytest.raises(BlockMissingError) as caught:
        store.read([6, 2])
    assert caught.value.context["blocks"] == [[0, 2], [1, 1], [1, 2]]
    assert caught.value.retryable
    assert store.missing_blocks([6, 2]) == [(0, 2), (1, 1), (1, 2)]
    assert store.missing_blocks([5], [0, 1]) == []
    with pytest.raises(BlockMissingError) as caught:
        store.diagonal()
    assert caught.value.context["blocks"] == [[1, 1], [2, 2]]
    with pytest.raises(BlockMissingError):
        store.read_block(2, 1)
    with pytest.raises(zarr.errors.ChunkNotFoundError):
        store.array()[:]


@pytest.mark.parametrize(("n", "block_size"), [(1, 1), (1, 1024), (3, 130), (5, 5)])
def test_a_block_larger_than_the_matrix(
    tmp_path: Path, fill: Fill, n: int, block_size: int
) -> None:
    store = GramStore.create(
        tmp_path / "g", shape=(n, n), dtype="f4", block_size=block_size, symmetric=True
    )
    dense = np.full((n, n), 2.5, "f4")
    fill(store, dense)
    assert store.stored_blocks() == {(0, 0)}
    np.testing.assert_array_equal(store.read(), dense)
    np.testing.assert_array_equal(store.array()[:], dense)
    store.verify_block(0, 0)


def test_blocks_of_many_strips(tmp_path: Path, fill: Fill) -> None:
    dense = np.random.default_rng(0).normal(size=(300, 150)).astype("f4")
    store = GramStore.create(
        tmp_path / "g", shape=(300, 150), dtype="f4", block_size=130, symmetric=False
    )
    fill(store, dense)
    np.testing.assert_array_equal(store.read(), dense)
    np.testing.assert_array_equal(store.read(slice(20, 140)), dense[20:140])
    rows = [299, 25, 26, 27, 129, 130, 131, 3]
    np.testing.assert_array_equal(store.read(rows), dense[rows])
    np.testing.assert_array_equal(store.array()[:], dense)


def test_more_rows_than_one_vectored_read_takes(tmp_path: Path, fill: Fill) -> None:
    # Strips have 64 rows at most, so this is about reading across many of them in a row.
    dense = np.random.default_rng(0).normal(size=(2048, 3)).astype("f4")
    store = GramStore.create(
        tmp_path / "g", shape=(2048, 3), dtype="f4", block_size=2048, symmetric=False
    )
    fill(store, dense)
    np.testing.assert_array_equal(store.read(), dense)


def test_plain_zarr_opens_it_in_another_process(symmetric: Matrix) -> None:
    store, dense = symmetric
    program = (
        "import sys, zarr, hashlib\n"
        "array = zarr.open_array(sys.argv[1])\n"
        "assert not [m for m in sys.modules if m.startswith('gramserve')]\n"
        "print(array.shape, array.dtype, hashlib.sha256(array[:].tobytes()).hexdigest())\n"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", program, str(store.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout
    assert said.strip() == f"(11, 11) float32 {hashlib.sha256(dense.tobytes()).hexdigest()}"


def test_a_replaced_or_removed_block_is_noticed(symmetric: Matrix) -> None:
    store, dense = symmetric
    np.testing.assert_array_equal(store.read([1]), dense[[1]])
    store.write_block(0, 1, np.full((4, 4), 7, "f4"))
    np.testing.assert_array_equal(store.read([1])[0, 4:8], [7] * 4)
    np.testing.assert_array_equal(store.read([5])[0, :4], [7] * 4)
    store.drop_block(1, 0)
    with pytest.raises(BlockMissingError) as caught:
        store.read([1])
    assert caught.value.context["blocks"] == [[0, 1]]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "index", "longer"])
def test_damaged_bytes_are_never_served(symmetric: Matrix, damage: str) -> None:
    store, _ = symmetric
    path = store.path / "c" / "1" / "0"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[20] ^= 4
    elif damage == "index":
        data[-10] ^= 4
    data = {"cut": data[:-1], "empty": data[:0], "longer": data + b"x"}.get(damage, data)
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(CorruptBlockError, match="block \\(1, 0\\)") as caught:
            store.read([5])
        assert caught.value.context["block"] == [0, 1]
        assert caught.value.context["path"] == str(path)
    store.read([5], slice(4, 11))  # the other blocks of the panel are fine


def test_a_file_cut_short_under_an_open_reader_is_an_error(symmetric: Matrix) -> None:
    store, dense = symmetric
    np.testing.assert_array_equal(store.read([5]), dense[[5]])
    path = store.path / "c" / "1" / "0"
    file = OPEN_SHARDS.get(str(path), store.header, 1)
    os.truncate(path, 10)
    with pytest.raises(ValueError, match="cut short"):
        file.read([1], 0, 16, (memoryview(bytearray(16)), 0, 16))


def test_open_files_are_bounded_and_closed(tmp_path: Path, fill: Fill) -> None:
    dense = np.random.default_rng(0).normal(size=(20, 20)).astype("f4")
    made = GramStore.create(
        tmp_path / "g", shape=(20, 20), dtype="f4", block_size=2, symmetric=False
    )
    fill(made, dense)
    files = ShardFiles(capacity=7)
    store = GramStore(made.path, made.header, files)
    np.testing.assert_array_equal(store.read(), dense)
    assert len(files) == 7
    assert open_below(tmp_path) == 7
    files.close()
    assert open_below(tmp_path) == 0
    np.testing.assert_array_equal(store.read(), dense)
    files.close()


def test_running_out_of_descriptors_closes_the_oldest(tmp_path: Path, fill: Fill) -> None:
    dense = np.random.default_rng(0).normal(size=(60, 60)).astype("f4")
    made = GramStore.create(
        tmp_path / "g", shape=(60, 60), dtype="f4", block_size=2, symmetric=False
    )
    fill(made, dense)
    store = GramStore(made.path, made.header, ShardFiles(capacity=10_000))
    most = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        np.testing.assert_array_equal(store.read(), dense)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_read_while_blocks_are_replaced(symmetric: Matrix) -> None:
    store, dense = symmetric
    small = GramStore(store.path, store.header, ShardFiles(capacity=3))
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        rows = np.random.default_rng(threading.get_ident() % 1000)
        try:
            while not stop.is_set():
                wanted = rows.integers(0, 11, 4)
                np.testing.assert_array_equal(small.read(wanted), dense[wanted])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        for i, j in store.planned_blocks():
            store.write_block(i, j, dense[i * 4 : i * 4 + 4, j * 4 : j * 4 + 4])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_store_travels_as_its_place(symmetric: Matrix) -> None:
    store, dense = symmetric
    store.read()
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).read(), dense)


def test_reopening_reads_the_description_again_only_when_it_was_replaced(tmp_path):
    path = tmp_path / "gram.zarr"
    described = {"dtype": "float32", "symmetric": True}
    GramStore.create(path, shape=(4, 4), block_size=2, **described)
    first = GramStore.reopen(path)
    assert GramStore.reopen(path) is first
    shutil.rmtree(path)
    with pytest.raises(StoreNotFoundError):
        GramStore.reopen(path)
    GramStore.create(path, shape=(6, 6), block_size=3, **described)
    assert GramStore.reopen(path).shape == (6, 6)
