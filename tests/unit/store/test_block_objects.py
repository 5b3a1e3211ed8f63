"""Writing, listing, checking and removing the blocks of a Gram matrix."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    NonFiniteKernelError,
    RowRangeError,
    StorageFullError,
    StoreMismatchError,
    StoreNotFoundError,
    UnsupportedDtypeError,
)
from gramserve.store import GramStore, files

Matrix = tuple[GramStore, np.ndarray]


@pytest.fixture
def empty(tmp_path: Path) -> GramStore:
    """A symmetric matrix of 11 rows in blocks of 4, without blocks."""
    return GramStore.create(
        tmp_path / "g", shape=(11, 11), dtype="f4", block_size=4, symmetric=True
    )


def objects(store: GramStore) -> set[str]:
    return {str(p.relative_to(store.path)) for p in store.path.rglob("*") if p.is_file()}


def test_both_triangles_are_stored(empty: GramStore) -> None:
    values = np.arange(12, dtype="f4").reshape(4, 3)
    empty.write_block(1, 2, values)
    assert objects(empty) == {"zarr.json", "c/1/2", "c/2/1"}
    np.testing.assert_array_equal(empty.read_block(1, 2), values)
    np.testing.assert_array_equal(empty.read_block(2, 1), values.T)
    assert empty.stored_blocks() == {(1, 2)}
    assert empty.has_block(1, 2)
    assert empty.has_block(2, 1)


def test_a_mirror_may_be_given(empty: GramStore) -> None:
    values = np.arange(12, dtype="f4").reshape(3, 4)
    checksum = empty.write_block(2, 1, values)
    np.testing.assert_array_equal(empty.read_block(1, 2), values.T)
    assert checksum == empty.write_block(1, 2, values.T)


def test_a_cross_matrix_has_no_mirrors(cross: Matrix) -> None:
    store, dense = cross
    assert store.block_count == 6
    assert store.stored_blocks() == {(i, j) for i in range(3) for j in range(2)}
    store.drop_block(0, 1)
    assert store.has_block(1, 0)
    np.testing.assert_array_equal(store.read_block(2, 1), dense[8:, 4:])


def test_the_checksum_names_the_values(empty: GramStore) -> None:
    values = np.random.default_rng(0).normal(size=(4, 4)).astype("f4")
    first = empty.write_block(0, 1, values)
    assert first == empty.write_block(0, 1, values.astype("f8")) == empty.verify_block(1, 0)
    assert first.startswith("sha256:")
    values[3, 3] = np.nextafter(values[3, 3], 9)
    assert empty.write_block(0, 1, values) != first


def test_a_diagonal_block_becomes_symmetric_to_the_bit(empty: GramStore) -> None:
    values = np.ones((4, 4), "f4")
    values[2, 1] = np.nextafter(np.float32(1), np.float32(2))
    values[0, 3] = np.nextafter(np.float32(1), np.float32(0))
    given = values.copy()
    empty.write_block(0, 0, values)
    stored = empty.read_block(0, 0)
    np.testing.assert_array_equal(stored, stored.T)
    np.testing.assert_array_equal(np.triu(stored), np.triu(given))
    np.testing.assert_array_equal(values, given)


def test_a_diagonal_block_far_from_symmetric_is_an_error(empty: GramStore) -> None:
    with pytest.raises(StoreMismatchError, match="is not symmetric"):
        empty.write_block(0, 0, np.arange(16, dtype="f4").reshape(4, 4))
    assert objects(empty) == {"zarr.json"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(empty: GramStore, bad: float) -> None:
    values = np.ones((4, 3), "f4")
    values[1, 2] = bad
    with pytest.raises(NonFiniteKernelError, match="row 5, column 10") as caught:
        empty.write_block(1, 2, values)
    assert caught.value.context == {"block": [1, 2], "pair": [5, 10]}
    assert objects(empty) == {"zarr.json"}


def test_float64_that_overflows_float32_is_refused(empty: GramStore) -> None:
    with pytest.raises(NonFiniteKernelError):
        empty.write_block(0, 1, np.full((4, 4), 1e300))


def test_wrong_blocks_are_refused(empty: GramStore) -> None:
    with pytest.raises(StoreMismatchError, match="4 x 3 values, not \\(4, 4\\)"):
        empty.write_block(1, 2, np.ones((4, 4), "f4"))
    with pytest.raises(UnsupportedDtypeError):
        empty.write_block(0, 1, np.ones((4, 4), int))
    for i, j in ((0, 3), (3, 0), (-1, 0), (0, -1)):
        for act in (empty.read_block, empty.verify_block, empty.drop_block, empty.has_block):
            with pytest.raises(RowRangeError, match="3 x 3 blocks"):
                act(i, j)
        with pytest.raises(RowRangeError):
            empty.write_block(i, j, np.ones((4, 4), "f4"))


def test_a_block_counts_once_both_objects_exist(symmetric: Matrix) -> None:
    store, _ = symmetric
    complete = set(store.planned_blocks())
    assert store.stored_blocks() == complete
    assert len(complete) == store.block_count == 6
    (store.path / "c" / "2" / "0").unlink()
    assert store.stored_blocks() == complete - {(0, 2)}
    assert not store.has_block(0, 2)
    (store.path / "c" / "0" / "1").unlink()
    assert store.stored_blocks() == complete - {(0, 2), (0, 1)}


def test_what_is_not_a_block_is_not_listed(symmetric: Matrix) -> None:
    store, _ = symmetric
    before = store.stored_blocks()
    (store.path / "c" / "0" / "1.abc.partial").write_text("")
    (store.path / "c" / "0" / "7").write_text("")
    (store.path / "c" / "7").mkdir()
    (store.path / "c" / "7" / "7").write_text("")
    (store.path / "c" / "notes").write_text("")
    assert store.stored_blocks() == before


def test_drop_block(symmetric: Matrix) -> None:
    store, _ = symmetric
    assert store.drop_block(2, 0)
    assert (0, 2) not in store.stored_blocks()
    assert not store.drop_block(0, 2)
    assert {"c/0/2", "c/2/0"}.isdisjoint(objects(store))


@pytest.mark.parametrize("place", ["c/0/1", "c/1/0", "c/1/1"])
@pytest.mark.parametrize("damage", ["flip", "flip-last", "cut", "zero", "swap"])
def test_verify_finds_damage_in_either_object(symmetric: Matrix, place: str, damage: str) -> None:
    store, _ = symmetric
    path = store.path / place
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[3] ^= 16
    elif damage == "flip-last":
        data[-1] ^= 16
    elif damage == "cut":
        del data[-1]
    elif damage == "zero":
        data.clear()
    else:  # intact bytes of another block
        data = bytearray((store.path / "c" / "0" / "0").read_bytes())
    path.write_bytes(data)
    i, j = sorted(int(n) for n in place.split("/")[1:])
    if damage == "swap" and i == j:
        store.verify_block(i, j)  # a diagonal block has no mirror to compare with
        return
    with pytest.raises(CorruptBlockError, match="is damaged") as caught:
        store.verify_block(j, i)
    assert caught.value.context["block"] == [i, j]
    others = store.stored_blocks() - {(i, j)}
    for other in others:
        store.verify_block(*other)


def test_verify_of_a_missing_object(symmetric: Matrix) -> None:
    store, _ = symmetric
    (store.path / "c" / "1" / "0").unlink()
    with pytest.raises(BlockMissingError) as caught:
        store.verify_block(0, 1)
    assert caught.value.context["blocks"] == [[0, 1]]


def test_a_stored_nan_is_found(symmetric: Matrix) -> None:
    store, _ = symmetric
    values = np.full((4, 4), np.nan, "f4")
    for place in ("c/0/1", "c/1/0"):
        (store.path / place).write_bytes(b"".join(store.header.layout.encode(values)))
    with pytest.raises(CorruptBlockError, match="not finite"):
        store.verify_block(0, 1)


# Space ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [0, 1, 2, 4, 5, 7])
def test_no_space_leaves_what_was_there(
    symmetric: Matrix, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    store, dense = symmetric
    real = os.write
    calls = 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls > allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    before = objects(store)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", write)
        # Strip, checksum and index of two objects: the last of six calls must be allowed.
        if allowed < 6:
            with pytest.raises(StorageFullError, match="free some space and resume") as caught:
                store.write_block(0, 1, np.ones((4, 4), "f4"))
            assert caught.value.retryable
    assert objects(store) == before
    if allowed < 6:
        np.testing.assert_array_equal(store.read(), dense)
        store.verify_block(0, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 1 MiB, where the machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here; the test with an injected error ran")
    if done.returncode:
        pytest.skip(f"cannot mount here ({done.stderr.strip()}); the injected error was tested")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _write_twos(store: GramStore, values: np.ndarray) -> None:
    for j in (2, 3):
        store.write_block(0, j, values)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    store = GramStore.create(
        small_disk / "g", shape=(1024, 1024), dtype="f4", block_size=256, symmetric=True
    )
    values = np.ones((256, 256), "f4")
    store.write_block(0, 1, values)  # two objects of 256 KiB
    with pytest.raises(StorageFullError):
        _write_twos(store, values)
    stored = store.stored_blocks()
    assert (0, 1) in stored
    for block in stored:
        store.verify_block(*block)
    assert not [name for name in objects(store) if name.endswith(".partial")]
    assert store.drop_block(0, 1)
    store.write_block(1, 2, values)


# Writers -------------------------------------------------------------------------------------


def _write_some(path: str, blocks: list[tuple[int, int]]) -> None:
    store = GramStore.open(path)
    for i, j in blocks:
        rows, columns = store.header.extent(i, j)
        store.write_block(i, j, np.full((rows, columns), i * 100 + j, "f4"))


def test_processes_write_different_blocks(tmp_path: Path) -> None:
    store = GramStore.create(
        tmp_path / "g", shape=(95, 95), dtype="f4", block_size=10, symmetric=True
    )
    blocks = list(store.planned_blocks())
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_some, args=(str(store.path), blocks[n::3])) for n in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert store.stored_blocks() == set(blocks)
    panels = np.arange(95) // 10
    low = np.minimum(panels[:, None], panels[None, :])
    high = np.maximum(panels[:, None], panels[None, :])
    np.testing.assert_array_equal(store.read(), low * 100 + high)


def test_a_writer_that_is_killed_leaves_only_whole_blocks(tmp_path: Path) -> None:
    store = GramStore.create(
        tmp_path / "g", shape=(1024, 1024), dtype="f4", block_size=128, symmetric=True
    )
    program = (
        "import sys, numpy as np\n"
        "from gramserve.store import GramStore\n"
        "store = GramStore.open(sys.argv[1])\n"
        "values = np.ones((128, 128), 'f4')\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for block in store.planned_blocks():\n"
        "        store.write_block(*block, values)\n"
    )
    random = np.random.default_rng(3)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(store.path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0.01, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for block in store.stored_blocks():
            store.verify_block(*block)
    store.sweep()
    assert not [name for name in objects(store) if name.endswith(".partial")]


# Objects for HTTP ----------------------------------------------------------------------------


def test_objects_by_key(symmetric: Matrix) -> None:
    store, _ = symmetric
    for key in ("zarr.json", "c/0/2", "c/2/0"):
        data = (store.path / key).read_bytes()
        assert store.object_size(key) == len(data)
        assert store.object_bytes(key) == data
        assert store.object_bytes(key, 5, 9) == data[5:9]
        assert store.object_bytes(key, len(data) - 3) == data[-3:]
        assert store.object_bytes(key, len(data) - 3, len(data) + 9) == data[-3:]
        assert store.object_bytes(key, 9, 9) == b""


@pytest.mark.parametrize(
    "key",
    [
        "",
        "c",
        "c/0",
        "c/0/0/0",
        "c/0/3",
        "c/3/0",
        "c/00/0",
        "c/-1/0",
        "c/0/0\n",
        "c/0/\u0660",
        "../g/zarr.json",
        "/etc/passwd",
        "c/../zarr.json",
        "zarr.json/",
        ".zarray",
        "c/0/99999999999999999999",
    ],
)
def test_keys_that_cannot_be(symmetric: Matrix, key: str) -> None:
    store, _ = symmetric
    with pytest.raises(StoreNotFoundError):
        store.object_size(key)
    with pytest.raises(StoreNotFoundError):
        store.object_bytes(key)


def test_a_planned_object_that_is_missing_is_not_404(symmetric: Matrix) -> None:
    store, _ = symmetric
    store.drop_block(0, 2)
    for act in (store.object_bytes, store.object_size):
        with pytest.raises(BlockMissingError) as caught:
            act("c/2/0")
        assert caught.value.context["blocks"] == [[0, 2]]
