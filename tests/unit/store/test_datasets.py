import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from gramserve.errors import (
    CorruptBlockError,
    InvalidDataError,
    RowRangeError,
    ShapeError,
    StorageFullError,
    StoreNotFoundError,
    UnsupportedDtypeError,
)
from gramserve.store import DatasetStore, datasets, files


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 4, 3, 2), dtype="uint8")


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of about a hundred bytes, so that small data sets have many."""
    monkeypatch.setattr(datasets, "_RUN_BYTES", 100)
    monkeypatch.setattr(datasets, "_KEYS_PER_RUN", 3)


def test_what_is_added_is_read(store: DatasetStore, images: np.ndarray) -> None:
    record = store.add(images, name="mine")
    assert (record.shape, record.dtype, record.items) == ((10, 4, 3, 2), "uint8", 10)
    assert (record.bytes, record.name, record.known) == (240, "mine", False)
    np.testing.assert_array_equal(store.read(record.digest), images)
    np.testing.assert_array_equal(store.read(record.digest, 3, 7), images[3:7])
    assert store.read(record.digest, 4, 4).shape == (0, 4, 3, 2)
    assert store.info(record.digest) == record
    assert store.list() == [record]
    assert store.has(record.digest)


@pytest.mark.usefixtures("short_runs")
def test_many_runs(store: DatasetStore, images: np.ndarray) -> None:
    digest = store.add(images).digest
    assert len(list((store.root / digest / "items" / "c").iterdir())) == 3
    for start in range(10):
        for stop in range(start, 11):
            np.testing.assert_array_equal(store.read(digest, start, stop), images[start:stop])
            assert len(store.item_keys(digest, start, stop)) == stop - start


def test_the_same_data_is_one_data_set(
    store: DatasetStore, images: np.ndarray, tmp_path: Path, short_runs: None
) -> None:
    first = store.add(images, name="first")
    np.save(tmp_path / "c.npy", images)
    np.save(tmp_path / "f.npy", np.asfortranarray(images))
    twins = [
        images.copy(),
        images.tolist(),
        np.asfortranarray(images),
        images[::-1][::-1],
        tmp_path / "c.npy",
        str(tmp_path / "f.npy"),
    ]
    for twin in twins[:1] + twins[2:]:
        again = store.add(twin, name="again")
        assert (again.digest, again.known, again.name) == (first.digest, True, "first")
    assert store.add(twins[1]).digest != first.digest  # a list is of int64
    assert len(store.list()) == 2


def test_byte_order_does_not_matter_but_shape_and_dtype_do(store: DatasetStore) -> None:
    values = np.random.default_rng(0).normal(size=(4, 2, 6)).astype("<f4")
    digest = store.add(values).digest
    assert store.add(values.astype(">f4")).known
    others = [values.reshape(4, 6, 2), values.view("<i4"), values.astype("f8"), values[:3]]
    digests = {store.add(other).digest for other in others}
    assert len(digests | {digest}) == 5
    assert store.read(digest).dtype == np.dtype("<f4")


def test_the_digest_is_pinned(store: DatasetStore) -> None:
    # SHA-256 of canonical JSON of shape and dtype, a line feed, and the items' SHA-256.
    values = np.arange(6, dtype="<f8").reshape(2, 3)
    header = b'{"dtype":"float64","format":"gramserve.items/1","item_shape":[3]}\n'
    items = b"".join(hashlib.sha256(row.tobytes()).digest() for row in values)
    expected = hashlib.sha256(header + items).hexdigest()
    record = store.add(values)
    assert record.digest == expected
    assert store.range_digest(expected, 0, 2) == expected
    assert store.item_keys(expected).tobytes() == items


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "u2", ">i4", "u8", "f2", ">f4", "f8"])
def test_real_dtypes(store: DatasetStore, dtype: str) -> None:
    values = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    record = store.add(values)
    found = store.read(record.digest)
    assert found.dtype == ("uint8" if dtype == "?" else np.dtype(dtype).newbyteorder("<"))
    assert record.dtype == found.dtype.name
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.array([[None]]),
        np.zeros((2, 2), [("x", "f4")]),
        np.zeros((2, 2), "M8[s]"),
        np.zeros((2, 2), "m8[s]"),
        np.zeros((2, 2), np.longdouble),
    ],
)
def test_other_dtypes(store: DatasetStore, values: np.ndarray) -> None:
    with pytest.raises(UnsupportedDtypeError):
        store.add(values)
    assert not store.root.exists() or list(store.root.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((), ShapeError),
        ((5,), ShapeError),
        ((0, 3), InvalidDataError),
        ((3, 0), InvalidDataError),
        ((3, 2, 0, 1), InvalidDataError),
    ],
)
def test_shapes_that_hold_no_items(
    store: DatasetStore, shape: tuple[int, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.add(np.zeros(shape))


def test_ragged_lists(store: DatasetStore) -> None:
    with pytest.raises(InvalidDataError, match="not one array"):
        store.add([[1, 2], [3]])


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8"])
def test_the_first_item_that_is_not_finite_is_named(
    store: DatasetStore, bad: float, dtype: str
) -> None:
    values = np.ones((50, 2, 3), dtype)
    values[31, 1, 2] = values[40, 0, 0] = bad
    with pytest.raises(InvalidDataError, match=r"item 31 holds -?(nan|inf) at \[1, 2\]") as caught:
        store.add(values)
    assert caught.value.context == {"item": 31, "index": [1, 2]}
    assert list(store.root.iterdir()) == []


def test_keys_say_which_items_are_the_same(store: DatasetStore, images: np.ndarray) -> None:
    doubled = np.concatenate([images, images[3:5]])
    keys = store.item_keys(store.add(doubled).digest)
    assert keys.dtype == "S32"
    assert keys.shape == (12,)
    same = keys[:, None] == keys[None, :]
    expected = np.eye(12, dtype=bool)
    expected[[10, 11, 3, 4], [3, 4, 10, 11]] = True
    np.testing.assert_array_equal(same, expected)


def test_keys_that_end_in_zero_bytes_still_differ(store: DatasetStore) -> None:
    # Among 3000 digests some dozen end in a zero byte, which NumPy drops from scalars.
    values = np.arange(3000, dtype="u4").reshape(3000, 1)
    keys = store.item_keys(store.add(values).digest)
    assert any(len(bytes(key)) < 32 for key in keys)
    assert len(np.unique(keys)) == 3000


@pytest.mark.usefixtures("short_runs")
def test_ranges_are_shared_between_data_sets(store: DatasetStore, images: np.ndarray) -> None:
    whole, part = store.add(images).digest, store.add(images[2:9]).digest
    assert store.range_digest(whole, 2, 9) == part
    assert store.range_digest(whole, 3, 6) == store.range_digest(part, 1, 4)
    assert store.range_digest(whole, 3, 6) != store.range_digest(part, 1, 5)
    # The same bytes as items of another shape are other items.
    other = store.add(images.reshape(10, 2, 6, 2)).digest
    assert store.range_digest(whole, 3, 6) != store.range_digest(other, 3, 6)


def test_what_is_not_there(store: DatasetStore, images: np.ndarray) -> None:
    assert store.list() == []
    digest = store.add(images).digest
    for bad in ("0" * 64, "..", "", digest[:-1], digest.upper(), digest + "\n"):
        for act in (store.info, store.read, store.item_keys, store.delete):
            with pytest.raises(StoreNotFoundError):
                act(bad)
        assert not store.has(bad)
    for start, stop in ((0, 11), (-1, 3), (5, 4)):
        with pytest.raises(RowRangeError):
            store.read(digest, start, stop)


def test_delete(store: DatasetStore, images: np.ndarray) -> None:
    digest = store.add(images).digest
    store.delete(digest)
    assert list(store.root.iterdir()) == []
    with pytest.raises(StoreNotFoundError):
        store.delete(digest)
    assert not store.add(images).known


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
@pytest.mark.parametrize("array", ["items", "keys"])
def test_damage_is_found(store: DatasetStore, images: np.ndarray, array: str, damage: str) -> None:
    digest = store.add(images).digest
    path = next(p for p in (store.root / digest / array / "c" / "1").rglob("*") if p.is_file())
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[5] ^= 1
    path.write_bytes({"cut": data[:-1], "empty": b""}.get(damage, data))
    if damage == "gone":
        path.unlink()
    read = store.read if array == "items" else store.item_keys
    with pytest.raises(CorruptBlockError):
        read(digest)
    read(digest, 0, 3)
    others = {path: path.stat().st_ino for path in (store.root / digest / array / "c").rglob("0")}
    assert store.add(images).known
    np.testing.assert_array_equal(store.read(digest), images)
    read(digest)
    kept = [path for path, inode in others.items() if path.stat().st_ino == inode]
    assert len(kept) >= len(others) - 1
    assert not list(store.root.glob("*.partial"))


def test_a_description_that_cannot_be_read(store: DatasetStore, images: np.ndarray) -> None:
    digest = store.add(images).digest
    (store.root / digest / "zarr.json").write_text("{}")
    with pytest.raises(CorruptBlockError, match=r"zarr\.json"):
        store.info(digest)


def test_plain_zarr_reads_it(store: DatasetStore, images: np.ndarray) -> None:
    digest = store.add(images).digest
    group = zarr.open_group(str(store.root / digest), mode="r")
    np.testing.assert_array_equal(group["items"][:], images)
    assert group["keys"][3].tobytes() == hashlib.sha256(images[3].tobytes()).digest()


def test_adding_at_once_is_adding_once(store: DatasetStore, images: np.ndarray) -> None:
    records: list[datasets.DatasetRecord] = []
    start = threading.Barrier(6)

    def add() -> None:
        start.wait()
        records.append(store.add(images))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.digest for record in records}) == 1
    assert sorted(record.known for record in records) == [False] + [True] * 5
    assert len(list(store.root.iterdir())) == 1


@pytest.mark.usefixtures("short_runs")
def test_a_full_disk_leaves_nothing(
    store: DatasetStore, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    for allowed in (0, 3, 9, 12):
        calls = 0

        def write(descriptor: int, data: memoryview, allowed: int = allowed) -> int:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", write)
            with pytest.raises(StorageFullError):
                store.add(images)
        assert list(store.root.iterdir()) == []
    assert not store.add(images).known


def test_an_upload_that_is_killed_leaves_nothing_visible(
    store: DatasetStore, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4000, 4096), "u1"))
    program = (
        "import sys\n"
        "from gramserve.store import DatasetStore\n"
        "store = DatasetStore(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    store.delete(store.add(sys.argv[2]).digest)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(store.root), str(tmp_path / "x.npy")],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    deadline = time.monotonic() + 20
    while not list(store.root.glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    for record in store.list():
        store.read(record.digest)
    store.sweep()
    assert not list(store.root.glob("*.partial"))


def test_large_files_are_added_in_bounded_memory(store: DatasetStore, tmp_path: Path) -> None:
    # 96 MiB in column order, the hardest case, by a process that may take 40 MiB more.
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2**14, 2**11, 3), "u1", order="F"))
    program = (
        "import sys, resource, numpy as np\n"
        "from gramserve.store import DatasetStore\n"
        "store = DatasetStore(sys.argv[1])\n"
        "store.add(np.zeros((2**12, 2**11), 'u1'))\n"
        "used = [int(l.split()[1]) for l in open('/proc/self/status') if l[:7] == 'VmData:'][0]\n"
        "limit = (used + 40 * 1024) * 1024\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
        "print(store.add(sys.argv[2]).bytes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(store.root), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [str(96 * 2**20)], done.stderr
