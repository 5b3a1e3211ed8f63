"""Whatever the items, cuts and gaps of two matrices: what is taken over is right, and complete."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gramserve.store import GramStore, ItemAxis, block_sources, masked_blocks, wanted_mask

POOL = 12
TRUTH = np.random.default_rng(0).normal(size=(POOL, POOL)).astype("f4")
TRUTH += TRUTH.T
KEYS = np.frombuffer(np.random.default_rng(1).bytes(32 * POOL), "S32")

Choice = tuple[list[int], list[int] | None, int]


def choices() -> st.SearchStrategy[Choice]:
    """Items of the rows, of the columns (None: the same), and a block size."""
    items = st.lists(st.integers(0, POOL - 1), min_size=1, max_size=14)
    return st.tuples(items, st.none() | items, st.integers(1, 6))


def axis(items: list[int]) -> ItemAxis:
    return ItemAxis(KEYS[items], (3,), "float32")


def open_gram(path: Path, choice: Choice) -> tuple[GramStore, tuple[ItemAxis, ItemAxis]]:
    rows, columns, size = choice
    gram = GramStore.create(
        path,
        shape=(len(rows), len(rows if columns is None else columns)),
        dtype="f4",
        block_size=size,
        symmetric=columns is None,
    )
    first = axis(rows)
    return gram, (first, first if columns is None else axis(columns))


def part(choice: Choice, i: int, j: int) -> tuple[list[int], list[int]]:
    rows, columns, size = choice
    across = rows if columns is None else columns
    return rows[i * size : (i + 1) * size], across[j * size : (j + 1) * size]


def truth(choice: Choice, i: int, j: int) -> np.ndarray:
    return TRUTH[np.ix_(*part(choice, i, j))]


@given(choices(), choices(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_blocks_are_taken_over_exactly_where_one_source_holds_all_their_entries(
    mine, theirs, random
):
    with tempfile.TemporaryDirectory() as folder:
        source, their_sides = open_gram(Path(folder) / "s", theirs)
        stored = [block for block in source.planned_blocks() if random.random() < 0.8]
        for block in stored:
            source.write_block(*block, truth(theirs, *block))
        target, sides = open_gram(Path(folder) / "t", mine)
        # Entries of the source that can be read, by their items, in either orientation.
        known = {
            pair
            for block in stored
            for row in part(theirs, *block)[0]
            for column in part(theirs, *block)[1]
            for pair in ((row, column), (column, row))
        }
        wanted = wanted_mask(target.header)
        for found in block_sources(target.header, sides, source, their_sides):
            for block in masked_blocks(found.available() & wanted):
                taken = found.take(target, block)
                np.testing.assert_array_equal(target.read_block(*block), truth(mine, *block))
                assert target.verify_block(*block) == taken.checksum
                assert set(taken.origins) <= set(stored)
        for block in masked_blocks(wanted):
            rows, columns = part(mine, *block)
            if target.has_block(*block):
                assert {(row, column) for row in rows for column in columns} <= known
            elif len(set(theirs[0])) == len(theirs[0]) and theirs[1] is None:
                # Without repeated items there is one place to look for each entry.
                assert not {(row, column) for row in rows for column in columns} <= known
