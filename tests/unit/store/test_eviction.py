from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import ConflictError, StoreNotFoundError
from gramserve.store import EvictedGram, GramStore, StateLayout, sweep_evicted, verify_blocks

ID = "0" * 32


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    made = StateLayout(tmp_path)
    made.ensure()
    return made


@pytest.fixture
def gram(layout: StateLayout) -> GramStore:
    made = GramStore.create(layout.gram(ID), shape=(8, 8), dtype="f4", block_size=4, symmetric=True)
    for i, j in made.planned_blocks():
        made.write_block(i, j, np.full((4, 4), i + j + 1, "f4"))
    return made


def test_a_matrix_is_away_at_once_and_its_readers_go_on(layout, gram):
    mapped = np.memmap(gram.object_path(0, 1), mode="r")
    content = bytes(mapped)
    evicted = EvictedGram(gram.path)
    evicted.take()
    assert layout.gram_ids() == []
    with pytest.raises(StoreNotFoundError):
        GramStore.open(gram.path)
    # While it can still be undone, nobody else takes it for a leftover.
    assert sweep_evicted(layout.grams) == 0
    evicted.remove()
    assert list(layout.grams.iterdir()) == []
    assert bytes(mapped) == content


def test_an_eviction_can_be_undone_until_somebody_made_the_matrix_anew(layout, gram):
    truth = gram.read()
    evicted = EvictedGram(gram.path)
    evicted.take()
    evicted.restore()
    np.testing.assert_array_equal(GramStore.open(gram.path).read(), truth)
    again = EvictedGram(gram.path)
    again.take()
    header = gram.header
    GramStore.create(
        gram.path, shape=header.shape, dtype="f4", block_size=header.block_size, symmetric=True
    )
    again.restore()
    assert GramStore.open(gram.path).stored_blocks() == set()
    assert sweep_evicted(layout.grams) == 1
    assert layout.gram_ids() == [ID]


def test_two_do_not_evict_one_matrix_and_none_there_is_no_error(layout, gram):
    first = EvictedGram(gram.path)
    first.take()
    first.restore()
    EvictedGram(layout.gram("1" * 32)).take()
    holder = EvictedGram(gram.path)
    holder.take()
    holder._doomed.rename(gram.path)  # as if it had been restored by somebody else
    with pytest.raises(ConflictError):
        EvictedGram(gram.path).take()
    holder.restore()


def test_what_a_killed_eviction_left_is_swept(layout, gram):
    gram.path.rename(layout.grams / "abc.partial")
    assert sweep_evicted(layout.grams) == 1
    assert list(layout.grams.iterdir()) == []


def test_verification_goes_through_all_blocks_and_drops_what_is_damaged(gram):
    assert [one.block for one in verify_blocks(gram)] == [(0, 0), (0, 1), (1, 1)]
    assert all(one.checksum == gram.verify_block(*one.block) for one in verify_blocks(gram))
    path = gram.object_path(1, 0)
    path.write_bytes(b"")
    found = {one.block: one for one in verify_blocks(gram)}
    assert "instead of" in found[0, 1].damage
    assert not found[0, 1].dropped
    assert path.exists()
    (damaged,) = [one for one in verify_blocks(gram, drop=True) if one.damage]
    assert damaged.dropped
    assert gram.stored_blocks() == {(0, 0), (1, 1)}
    assert list(verify_blocks(gram, should_stop=lambda: True)) == []
