"""Which blocks of a matrix another one holds, whatever its cut, order and orientation."""

from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import BlockMissingError, CorruptBlockError
from gramserve.store import (
    DatasetStore,
    GramStore,
    axis_of,
    block_sources,
    read_axis,
    stored_mask,
    wanted_mask,
)

ITEMS = np.random.default_rng(5).normal(size=(60, 3)).astype("f4")


class Shelf:
    """Data sets and their linear kernels in a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets = DatasetStore(folder / "datasets")

    def axis(self, items):
        return read_axis(self.datasets.root, self.datasets.add(items).digest)

    def gram(self, name, rows, columns=None, *, block_size, filled=True):
        across = rows if columns is None else columns
        gram = GramStore.create(
            self.folder / name,
            shape=(len(rows), len(across)),
            dtype="f4",
            block_size=block_size,
            symmetric=columns is None,
        )
        values = rows @ across.T
        for i, j in gram.planned_blocks() if filled else ():
            here = slice(i * block_size, (i + 1) * block_size)
            there = slice(j * block_size, (j + 1) * block_size)
            gram.write_block(i, j, values[here, there])
        left = self.axis(rows)
        return gram, (left, left if columns is None else self.axis(columns))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def take_all(target, sources):
    """Take what can be taken; return the blocks that were."""
    taken = []
    for source in sources:
        for block in np.argwhere(source.available() & wanted_mask(target.header)).tolist():
            if not target.has_block(*block):
                taken.append(source.take(target, tuple(block)))
    return taken


def check(target, rows, columns=None):
    truth = rows @ (rows if columns is None else columns).T
    for i, j in target.stored_blocks():
        size = target.block_size
        expected = truth[i * size : (i + 1) * size, j * size : (j + 1) * size]
        np.testing.assert_allclose(target.read_block(i, j), expected, rtol=1e-5, atol=1e-6)
        target.verify_block(i, j)


def test_a_superset_links_the_whole_blocks_of_what_it_holds(shelf):
    source, theirs = shelf.gram("s", ITEMS[:26], block_size=8)
    target, mine = shelf.gram("t", ITEMS[:40], block_size=8, filled=False)
    (found,) = block_sources(target.header, mine, source, theirs)
    taken = take_all(target, [found])
    # Three whole panels of eight, and a fourth that was cut short at 26 and is computed anew.
    assert {one.block for one in taken} == {(i, j) for i in range(3) for j in range(i, 3)}
    assert all(one.origins == (one.block,) for one in taken)
    assert target.object_path(2, 1).samefile(source.object_path(2, 1))
    check(target, ITEMS[:40])


def test_a_subset_in_another_order_and_cut_is_gathered(shelf):
    order = np.random.default_rng(1).permutation(26)[:17]
    source, theirs = shelf.gram("s", ITEMS[:26], block_size=8)
    target, mine = shelf.gram("t", ITEMS[order], block_size=5, filled=False)
    (found,) = block_sources(target.header, mine, source, theirs)
    assert len(take_all(target, [found])) == target.block_count == 10
    check(target, ITEMS[order])
    np.testing.assert_array_equal(target.read(), target.read().T)


@pytest.mark.parametrize("size", [4, 8, 32])
def test_train_test_comes_out_of_the_matrix_of_both(shelf, size):
    source, theirs = shelf.gram("s", ITEMS[:40], block_size=8)
    target, mine = shelf.gram("t", ITEMS[24:40], ITEMS[:24], block_size=size, filled=False)
    (found,) = block_sources(target.header, mine, source, theirs)
    assert len(take_all(target, [found])) == target.block_count
    check(target, ITEMS[24:40], ITEMS[:24])


def test_a_cross_matrix_gives_its_transpose_and_blocks_of_a_symmetric_one(shelf):
    source, theirs = shelf.gram("s", ITEMS[:16], ITEMS[16:40], block_size=8)
    turned, mine = shelf.gram("t", ITEMS[16:40], ITEMS[:16], block_size=8, filled=False)
    (found,) = block_sources(turned.header, mine, source, theirs)
    assert found.is_transposed
    assert len(take_all(turned, [found])) == turned.block_count
    check(turned, ITEMS[16:40], ITEMS[:16])
    both, mine = shelf.gram("b", ITEMS[:40], block_size=8, filled=False)
    taken = take_all(both, block_sources(both.header, mine, source, theirs))
    assert {one.block for one in taken} == {(i, j) for i in range(2) for j in range(2, 5)}
    check(both, ITEMS[:40])


def test_what_the_source_lacks_is_not_available(shelf):
    source, theirs = shelf.gram("s", ITEMS[:32], block_size=8)
    source.drop_block(1, 2)
    target, mine = shelf.gram("t", ITEMS[:32], block_size=16, filled=False)
    (found,) = block_sources(target.header, mine, source, theirs)
    assert np.argwhere(found.available() & wanted_mask(target.header)).tolist() == [[0, 0], [1, 1]]
    with pytest.raises(BlockMissingError):
        found.take(target, (0, 1))
    assert stored_mask(source).sum() == 4 * 4 - 2


def test_damaged_blocks_are_not_taken(shelf):
    source, theirs = shelf.gram("s", ITEMS[:16], block_size=8)
    path = source.object_path(1, 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    for size in (8, 16):
        target, mine = shelf.gram(f"t{size}", ITEMS[:16], block_size=size, filled=False)
        (found,) = block_sources(target.header, mine, source, theirs)
        last = (target.header.panels[0] - 1,) * 2
        with pytest.raises(CorruptBlockError) as caught:
            found.take(target, last)
        assert caught.value.context["block"] == [1, 1]
        assert not target.has_block(*last)


def test_equal_bytes_of_another_dtype_or_shape_are_other_items(shelf):
    source, theirs = shelf.gram("s", ITEMS[:8], block_size=8)
    as_integers = shelf.axis(ITEMS[:8].view("i4"))
    assert (as_integers.keys == theirs[0].keys).all()
    assert list(block_sources(source.header, (as_integers,) * 2, source, theirs)) == []


def test_repeated_items_do_not_hide_a_run(shelf):
    items = np.concatenate([ITEMS[:8], ITEMS[3:4], ITEMS[9:16]])
    source, theirs = shelf.gram("s", items, block_size=8)
    target, mine = shelf.gram("t", np.concatenate([items, ITEMS[:8]]), block_size=8, filled=False)
    (found,) = block_sources(target.header, mine, source, theirs)
    assert len(take_all(target, [found])) == target.block_count  # the third panel is the first
    assert target.object_path(1, 1).samefile(source.object_path(1, 1))


@pytest.mark.parametrize("dtype", ["f4", ">f8", "u1", "?"])
def test_items_that_are_not_stored_have_the_axis_of_their_data_set(shelf, dtype):
    items = (ITEMS * 50).astype(dtype)
    stored, free = shelf.axis(items), axis_of(items)
    assert (stored.keys == free.keys).all()
    assert stored.is_comparable(free)
    assert (stored.find(free, 8) == np.arange(len(items))).all() or dtype == "?"
