"""The bitmap of blocks against a set."""

from hypothesis import given
from hypothesis import strategies as st

from gramserve.plan import BlockMap, Grid


@st.composite
def grids(draw):
    symmetric = draw(st.booleans())
    rows = draw(st.integers(1, 30))
    columns = rows if symmetric else draw(st.integers(1, 30))
    return Grid(rows, columns, draw(st.integers(1, 7)), symmetric)


@given(grids(), st.data())
def test_it_is_a_set_in_the_order_of_the_grid(grid, data):
    blocks = list(grid.blocks())
    chosen = data.draw(st.lists(st.sampled_from(blocks)))
    stored = BlockMap(grid, chosen)
    taken = data.draw(st.lists(st.sampled_from(blocks)))
    for block in taken:
        stored.discard(block)
    expected = set(chosen) - set(taken)
    assert stored == expected
    assert len(stored) == len(expected)
    assert list(stored) == sorted(expected)
    assert list(stored.missing()) == [block for block in blocks if block not in expected]
    bits = int.from_bytes(stored.to_bytes(), "little")
    assert [bool(bits >> k & 1) for k in range(len(blocks))] == [b in expected for b in blocks]
    assert bits >> len(blocks) == 0
    assert all(stored.lacks(block) == (block not in expected) for block in blocks)
    assert BlockMap.full(grid) == set(blocks)
    other = BlockMap(grid, taken)
    assert set(stored & other) == expected & set(taken)


def test_what_is_no_canonical_block_is_not_in_it():
    grid = Grid(10, 10, 4, symmetric=True)
    stored = BlockMap(grid)
    for block in [(1, 0), (0, 3), (3, 3), (-1, 0)]:
        assert not stored.add(block)
        assert block not in stored
        assert not stored.lacks(block)
        stored.discard(block)
    assert len(stored) == 0
    assert stored.add((0, 2))
    assert not stored.add((0, 2))


def test_a_million_blocks_take_an_eighth_of_a_megabyte():
    grid = Grid(1414, 1414, 1, symmetric=True)
    stored = BlockMap(grid)
    assert len(stored.to_bytes()) == 125_051
    assert next(stored.missing()) == (0, 0)
