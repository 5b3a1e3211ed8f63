import os

import numpy as np
import pytest
from damage import DAMAGES, flip_data, truncate

from gramserve.errors import BlockMissingError, CorruptBlockError
from gramserve.store import GramStore, drop_damaged_blocks, drop_if_damaged
from gramserve.store.inspection import INSPECTED

BLOCK = 8
COUNT = 20


@pytest.fixture
def gram(tmp_path):
    """A complete symmetric matrix of 3 x 3 blocks, the last ones partial."""
    gram = GramStore.create(
        tmp_path / "g", shape=(COUNT, COUNT), dtype="f4", block_size=BLOCK, symmetric=True
    )
    values = np.arange(COUNT * COUNT, dtype="f4").reshape(COUNT, COUNT)
    values = values + values.T
    for i, j in gram.planned_blocks():
        gram.write_block(i, j, values[i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK])
    return gram


@pytest.fixture
def reads(monkeypatch):
    """The objects that an inspection read."""
    found = []
    check = GramStore.check_object

    def noting(self, i, j):
        found.append((i, j))
        check(self, i, j)

    monkeypatch.setattr(GramStore, "check_object", noting)
    return found


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (2, 0), (2, 2)])
def test_every_damage_of_either_object_is_found_and_dropped(gram, damage, place):
    damage(gram.object_path(*place))
    canonical = tuple(sorted(place))
    assert drop_damaged_blocks(gram) == [canonical]
    assert gram.stored_blocks() == set(gram.planned_blocks()) - {canonical}
    assert not gram.object_path(*canonical[::-1]).exists()
    assert drop_damaged_blocks(gram) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_after_an_inspection_is_found_by_the_next(gram, damage):
    assert drop_damaged_blocks(gram) == []
    damage(gram.object_path(1, 0))
    assert drop_damaged_blocks(gram) == [(0, 1)]


def test_what_was_found_whole_is_read_once(gram, reads):
    drop_damaged_blocks(gram)
    assert len(reads) == 9
    reads.clear()
    drop_damaged_blocks(GramStore.open(gram.path))
    assert reads == []
    gram.drop_block(0, 1)
    gram.write_block(0, 1, np.zeros((BLOCK, BLOCK), "f4"))
    drop_damaged_blocks(gram)
    assert sorted(reads) == [(0, 1), (1, 0)]


def test_a_clock_that_stepped_back_hides_nothing(gram):
    drop_damaged_blocks(gram)
    path = gram.object_path(0, 1)
    flip_data(path)
    os.utime(path, (1, 1))
    assert drop_damaged_blocks(gram) == [(0, 1)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_notes_cost_reading_and_nothing_else(gram, reads, damage):
    drop_damaged_blocks(gram)
    reads.clear()
    damage(gram.path / INSPECTED)
    assert drop_damaged_blocks(gram) == []
    assert len(reads) == 9


def test_notes_that_cannot_be_written_are_done_without(gram, monkeypatch):
    (gram.path / INSPECTED).mkdir()
    flip_data(gram.object_path(0, 0))
    assert drop_damaged_blocks(gram) == [(0, 0)]


def test_an_inspection_ends_when_asked_and_goes_on_later(gram, reads):
    answers = iter([False, False, True])
    assert drop_damaged_blocks(gram, lambda: next(answers)) == []
    assert len(reads) == 3
    drop_damaged_blocks(gram)
    assert len(reads) == 9


def test_a_matrix_without_blocks_and_one_of_two_data_sets(tmp_path):
    gram = GramStore.create(
        tmp_path / "h", shape=(10, 20), dtype="f8", block_size=8, symmetric=False
    )
    assert drop_damaged_blocks(gram) == []
    gram.write_block(1, 0, np.ones((2, 8)))
    gram.write_block(0, 2, np.ones((8, 4)))
    truncate(gram.object_path(1, 0))
    assert drop_damaged_blocks(gram) == [(1, 0)]
    assert gram.stored_blocks() == {(0, 2)}


def test_a_whole_or_a_missing_block_is_not_dropped(gram):
    assert not drop_if_damaged(gram, 1, 0)
    assert gram.has_block(0, 1)
    gram.drop_block(0, 1)
    assert not drop_if_damaged(gram, 0, 1)


def test_a_block_that_was_replaced_while_it_was_read_stays(gram, monkeypatch):
    flip_data(gram.object_path(0, 1))
    check = GramStore.check_object

    def slow(self, i, j):
        try:
            check(self, i, j)
        finally:
            gram.write_block(0, 1, np.ones((BLOCK, BLOCK), "f4"))

    monkeypatch.setattr(GramStore, "check_object", slow)
    assert not drop_if_damaged(gram, 0, 1)
    assert (gram.read_block(0, 1) == 1).all()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_objects_are_not_handed_to_other_zarr_readers(gram, damage):
    key = "c/1/0"
    whole = gram.object_bytes(key)
    assert gram.object_bytes(key, 3, 9) == whole[3:9]
    damage(gram.object_path(1, 0))
    with pytest.raises(CorruptBlockError):
        gram.object_bytes(key, 0, 1)
    gram.drop_block(0, 1)
    with pytest.raises(BlockMissingError):
        gram.object_bytes(key)


def test_a_size_is_told_only_of_an_object_that_has_it(gram):
    size = gram.object_size("c/0/1")
    truncate(gram.object_path(0, 1))
    with pytest.raises(CorruptBlockError, match=f"instead of {size}"):
        gram.object_size("c/0/1")
