"""The grid: every entry lies in exactly one block or its mirror, whatever the sizes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gramserve.plan import Grid

sizes = st.integers(1, 23)


@st.composite
def grids(draw):
    rows, block = draw(sizes), draw(st.integers(1, 30))
    symmetric = draw(st.booleans())
    return Grid(rows, rows if symmetric else draw(sizes), block, symmetric)


@given(grids())
def test_blocks_and_mirrors_cover_every_entry_once(grid):
    covered = np.zeros((grid.rows, grid.columns), int)
    entries = 0
    for i, j in grid.blocks():
        rows, columns = slice(*grid.row_range(i)), slice(*grid.column_range(j))
        covered[rows, columns] += 1
        entries += covered[rows, columns].size
        assert grid.shape_of((i, j)) == covered[rows, columns].shape
        if grid.symmetric and i < j:
            covered[columns, rows] += 1
    assert (covered == 1).all()
    assert entries == grid.entry_count
    assert len(list(grid.blocks())) == grid.block_count


@given(grids(), st.data())
def test_blocks_for_a_read_are_exactly_those_it_touches(grid, data):
    rows = data.draw(st.lists(st.integers(0, grid.rows - 1), max_size=5))
    columns = data.draw(
        st.none() | st.lists(st.integers(0, grid.columns - 1), min_size=1, max_size=5)
    )
    owner = {}
    for i, j in grid.blocks():
        for row in range(*grid.row_range(i)):
            for column in range(*grid.column_range(j)):
                owner[row, column] = (i, j)
                if grid.symmetric:
                    owner[column, row] = (i, j)
    wide = range(grid.columns) if columns is None else columns
    assert grid.blocks_for(rows, columns) == {owner[r, c] for r in rows for c in wide}


@given(grids())
def test_blocks_of_one_row_panel_come_next_to_each_other(grid):
    panels = [i for i, _ in grid.blocks()]
    assert panels == sorted(panels)
