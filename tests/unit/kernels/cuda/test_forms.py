"""Schedules of pools: every entry of every needed offset, once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gramserve.kernels.cuda.emit import group_layers
from gramserve.kernels.cuda.forms import column_runs, row_runs
from gramserve.kernels.cuda.tiles import choose_tile


@st.composite
def kept_offsets(draw):
    pooled = draw(st.integers(1, 8))
    kept = draw(st.sets(st.integers(0, pooled - 1), min_size=1))
    return pooled, sorted(kept)


@given(kept_offsets(), st.integers(2, 4))
def test_runs_of_rows_complete_every_kept_offset(case, window):
    """Carry out a schedule as the kernel does, counting which rows of windows were added."""
    pooled, kept = case
    stored, here, after = {}, Counter(), Counter()
    for offset, is_fresh, slot, last in row_runs(kept, pooled).tolist():
        if is_fresh:
            here = Counter()
        after = Counter()
        for r in range(window):
            for row in range(window):
                (here if row < window - r else after)[offset * window + r, row] += 1
        if slot >= 0:
            assert slot not in stored
            stored[slot] = here
        if last >= 0:
            stored[last] = stored[last] + after
        here = after
    size = pooled * window
    wanted = {
        slot: Counter(
            ((offset * window + e) % size, row)
            for e in range(1 - window, window)
            for row in range(window)
            if (offset * window + e + row) // window == offset
        )
        for slot, offset in enumerate(kept)
    }
    assert stored == wanted


@given(kept_offsets())
def test_runs_of_columns_write_both_parts_of_every_kept_offset(case):
    pooled, kept = case
    runs = column_runs(kept, pooled).tolist()
    assert sorted(slot for _, slot, _ in runs if slot >= 0) == list(range(len(kept)))
    assert sorted(after for _, _, after in runs if after >= 0) == list(range(len(kept)))
    for offset, slot, after in runs:
        assert slot < 0 or kept[slot] == offset
        assert after < 0 or kept[after] == (offset + 1) % pooled


def test_layers_that_repeat_stand_once():
    assert group_layers([]) == "Chain<>"
    assert group_layers(["a"] * 3) == "Chain<Repeat<3, a>>"
    assert group_layers(list("xababc")) == "Chain<x, Repeat<2, a, b>, c>"


@given(st.integers(1, 40), st.integers(1, 70), st.sampled_from([4, 8]), st.integers(1, 2))
def test_a_tile_covers_the_image_and_fits(height, width, itemsize, copies):
    tile = choose_tile((height, width), itemsize, copies=copies)
    if tile is None:
        assert width > 32 or height * copies * itemsize // 4 > 128
        return
    assert tile.rows == height
    assert tile.lanes * tile.columns == width
    assert 1 <= tile.lanes <= 32
    assert height * tile.columns * copies * itemsize // 4 <= 128
