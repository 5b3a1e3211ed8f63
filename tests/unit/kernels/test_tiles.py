"""Tiles cover every pair once and stay within their size."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramserve.kernels import tiles
from gramserve.kernels.tiles import cut_tiles

counts = st.integers(1, 40)


@given(counts, counts, st.integers(1, 300))
def test_rectangles_cover_every_pair_once(rows, columns, pairs):
    covered = np.zeros((rows, columns), int)
    for tile in cut_tiles(rows, columns, pairs, symmetric=False):
        assert covered[tile].size <= pairs
        covered[tile] += 1
    assert (covered == 1).all()


@given(counts, st.integers(1, 300))
def test_symmetric_tiles_cover_the_upper_triangle_once(count, pairs):
    covered = np.zeros((count, count), int)
    for tile in cut_tiles(count, count, pairs, symmetric=True):
        assert covered[tile].size <= pairs
        assert tile[0] == tile[1] or tile[0].stop <= tile[1].start
        covered[tile] += 1
    assert (covered[np.triu_indices(count)] == 1).all()


@pytest.mark.parametrize("count", [5, 30])
def test_one_pair_at_a_time_visits_every_distinct_pair(count):
    assert len(list(cut_tiles(count, count, 1, symmetric=True))) == count * (count + 1) // 2


def test_examples_in_the_docstrings_run():
    assert doctest.testmod(tiles).failed == 0
