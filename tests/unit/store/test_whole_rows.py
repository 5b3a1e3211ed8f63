import os
from pathlib import Path

import numpy as np
import pytest

from gramserve.store import WholeRows, whole_rows


@pytest.fixture(params=[0, 10**6], ids=["uncached", "cached"])
def reader(request):
    return WholeRows(max_bytes=request.param)


def row_of(reader, store, row):
    return np.frombuffer(reader.read(store, row), store.dtype)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def count_reads(monkeypatch):
    """Return a list that grows with every read of a file's row."""
    calls, pread = [], os.pread
    monkeypatch.setattr(whole_rows.os, "pread", lambda *words: calls.append(words) or pread(*words))
    return calls


@pytest.mark.parametrize("kind", ["symmetric", "cross"])
def test_rows_are_those_of_the_matrix_however_often_they_are_read(kind, reader, request):
    store, dense = request.getfixturevalue(kind)
    for _ in range(2):
        for row in range(len(dense)):
            np.testing.assert_array_equal(row_of(reader, store, row), dense[row])


def test_a_row_that_was_read_is_kept_and_the_oldest_goes_first(cross, monkeypatch):
    store, dense = cross
    reader = WholeRows(max_bytes=2 * dense[0].nbytes)
    for row in (0, 1, 0, 2):
        reader.read(store, row)
    calls = count_reads(monkeypatch)
    for row in (0, 2, 0):
        np.testing.assert_array_equal(row_of(reader, store, row), dense[row])
    assert not calls
    np.testing.assert_array_equal(row_of(reader, store, 1), dense[1])
    assert calls


def test_a_row_larger_than_the_memory_is_not_kept(cross, monkeypatch):
    store, dense = cross
    reader = WholeRows(max_bytes=dense[0].nbytes - 1)
    reader.read(store, 0)
    calls = count_reads(monkeypatch)
    reader.read(store, 0)
    assert calls


def test_a_replaced_block_is_noticed(cross, reader, monkeypatch):
    store, dense = cross
    monkeypatch.setattr(whole_rows, "TRUSTED_S", -1.0)
    np.testing.assert_array_equal(row_of(reader, store, 5), dense[5])
    other = np.full((4, 4), 7.0)
    store.drop_block(1, 0)
    with pytest.raises(FileNotFoundError):
        reader.read(store, 5)
    store.write_block(1, 0, other)
    np.testing.assert_array_equal(row_of(reader, store, 5), [7, 7, 7, 7, *dense[5, 4:]])


def test_kept_rows_do_not_keep_files_open(symmetric):
    store, dense = symmetric
    reader = WholeRows(max_files=3, max_bytes=10**6)
    before = open_files()
    for row in range(len(dense)):
        reader.read(store, row)
    assert open_files() <= before + 3
