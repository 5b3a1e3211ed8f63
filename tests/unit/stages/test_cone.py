"""Stages and the offset planes they need."""

import pytest

from gramserve.spec import parse_kernel
from gramserve.stages import Fork, count_operations, cut_stages, plane_entries

CONV, RELU = {"type": "conv", "size": 3}, {"type": "relu"}


def stages(layers, shape, **more):
    return cut_stages(parse_kernel({"layers": layers, **more}), shape).stages


def count(stage):
    return sum(plane_entries(stage.before, plane) for plane in stage.start_planes)


def test_a_flatten_readout_without_pools_needs_one_plane():
    found = stages([CONV, RELU, CONV, RELU, {"type": "flatten"}], (32, 32, 3))
    assert [stage.planes for stage in found] == [((0, 0),)]
    assert count(found[0]) == 32 * 32


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 5, 2), (3, 2, 1)])
def test_a_global_readout_needs_all_planes_which_hold_all_entries(shape):
    found = stages([CONV, {"type": "global_avg_pool"}], shape)
    height, width, _ = shape
    assert len(found[0].planes) == (2 * height - 1) * (2 * width - 1)
    assert count(found[0]) == (height * width) ** 2


def test_a_pool_widens_the_cone_by_its_window():
    pool = {"type": "avg_pool", "window": 2}
    found = stages([CONV, pool, RELU, {"type": "flatten"}], (8, 8, 3))
    assert set(found[0].planes) == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    # The plane that variances are entries of comes first, the others column by column.
    assert found[0].planes[0] == (0, 0)
    assert [b for _, b in found[0].planes[1:]] == sorted(b for _, b in found[0].planes[1:])
    wide = {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}
    found = stages([wide, {"type": "flatten"}], (12, 12, 3))
    assert set(found[0].planes) == {(a, b) for a in range(-4, 5) for b in range(-4, 5)}
    strided = {"type": "ckn_pool", "kind": "strided", "subsampling": 2}
    found = stages([strided, strided, {"type": "flatten"}], (12, 12, 3))
    # It picks single positions: no pair of planes is coupled.
    assert [stage.planes for stage in found] == [((0, 0),)] * 3


def test_strides_stretch_offsets():
    strided = {"type": "conv", "size": 3, "strides": [2, 1]}
    found = stages([strided, strided, {"type": "global_avg_pool"}], (9, 4, 1))
    assert found[0].scale == (4, 1)
    assert found[0].after == (3, 4)
    assert set(found[0].start_planes) == {(4 * a, b) for a in range(-2, 3) for b in range(-3, 4)}


def test_sequences_are_images_of_width_1_and_what_follows_the_readout_is_the_tail():
    layers = [{"type": "conv", "size": 3}, {"type": "global_avg_pool"}, {"type": "dense"}]
    spec = parse_kernel({"layers": layers, "input": {"layout": "sequence"}})
    found = cut_stages(spec, (7, 2))
    assert found.stages[0].before == (7, 1)
    assert len(found.stages[0].planes) == 13
    assert [step.layer.type for step in found.tail] == ["dense"]


def test_items_without_positions_are_all_tail():
    found = cut_stages(parse_kernel({"preset": "fc", "depth": 2}), (5,))
    assert found.stages == ()
    assert [step.layer.type for step in found.tail] == ["dense", "relu"] * 2 + ["dense"]


def test_branches_that_stay_on_their_plane_are_part_of_a_stage():
    residual = {"type": "residual", "branches": [[RELU, CONV], []]}
    found = stages([CONV, residual, RELU, {"type": "flatten"}], (6, 6, 1))
    assert len(found) == 1
    assert [len(branch) for branch in found[0].steps[1].branches] == [2, 0]
    assert isinstance(found[0].steps[1], Fork)


def test_branches_with_pools_are_stages_that_add_to_one_state():
    pool = {"type": "avg_pool", "window": 2}
    concat = {"type": "concat", "branches": [[CONV, pool], [pool, RELU]]}
    found = stages([CONV, concat, {"type": "global_avg_pool"}], (6, 6, 1))
    ends = [stage for stage in found if stage.writes == found[-1].reads]
    assert [stage.adds for stage in ends] == [False, True]
    assert [stage.weight for stage in ends] == [0.5, 0.5]
    # Both read the same state, and need the same planes of it.
    assert found[1].reads == found[3].reads
    assert set(found[1].start_planes) == set(found[3].start_planes)


def test_a_convolution_that_wraps_around_reads_planes_that_are_one_modulo_the_size():
    circular = {**CONV, "padding": "circular"}
    found = stages([RELU, circular, {"type": "flatten"}], (5, 4, 1))
    assert [stage.front is None for stage in found] == [True, False]
    assert found[1].read_planes == {(0, 0)}
    found = stages([RELU, circular, {"type": "global_avg_pool"}], (5, 4, 1))
    assert len(found[0].planes) == 9 * 7


def test_a_convolution_that_fills_with_zeros_reads_every_other_plane():
    filled = {**CONV, "fill": [2, 1]}
    found = stages([RELU, filled, {"type": "global_avg_pool"}], (3, 4, 1))
    assert found[1].before == (5, 4)
    assert len(found[1].planes) == 9 * 7
    assert len(found[1].read_planes) == 5 * 7


def test_variances_need_fewer_planes():
    spec = parse_kernel({"preset": "myrtle10", "head": False})
    found = cut_stages(spec, (32, 32, 3), for_variances=True).stages
    # Entries p = p' behind two pools; the readout and its planes are not needed at all.
    assert [len(stage.planes) for stage in found] == [49, 9, 1]
    # The projected head normalises by the kernel of an item with itself, which needs all.
    head = cut_stages(parse_kernel("myrtle10"), (32, 32, 3), for_variances=True).stages
    whole = cut_stages(parse_kernel("myrtle10"), (32, 32, 3)).stages
    assert [len(stage.planes) for stage in head] == [len(stage.planes) for stage in whole]


def test_operations_are_counted_on_the_planes_that_are_needed():
    network = [CONV, RELU, CONV, RELU]
    whole = parse_kernel({"layers": [*network, {"type": "global_avg_pool"}]})
    one = parse_kernel({"layers": [*network, {"type": "flatten"}]})
    dense = count_operations(whole, (16, 16, 3))
    assert dense.planes.operations == dense.operations
    flat = count_operations(one, (16, 16, 3))
    # One plane of 256 entries instead of 256^2.
    assert flat.planes.operations == pytest.approx(flat.operations / 256, rel=0.02)
    assert flat.planes.rows == 16 * 6
    branch = {"type": "residual", "branches": [[], [CONV]]}
    forked = count_operations(parse_kernel({"layers": [branch, {"type": "flatten"}]}), (4, 4, 1))
    straight = count_operations(parse_kernel({"layers": [CONV, {"type": "flatten"}]}), (4, 4, 1))
    copies = 2 * 2 * 4 * 4
    assert forked.planes.operations == straight.planes.operations + copies
