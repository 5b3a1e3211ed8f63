"""Stages and the offset planes they need."""

import pytest

from gramserve.spec import parse_kernel
from gramserve.stages import count_operations, cut_stages, find_unstaged, plane_entries

CONV, RELU = {"type": "conv", "size": 3}, {"type": "relu"}


def stages(layers, shape, **more):
    spec = parse_kernel({"layers": layers, **more})
    assert find_unstaged(spec) is None
    return cut_stages(spec, shape)


def count(stage):
    return sum(plane_entries(stage.before, plane) for plane in stage.start_planes)


def test_a_flatten_readout_without_pools_needs_one_plane():
    found = stages([CONV, RELU, CONV, RELU, {"type": "flatten"}], (32, 32, 3))
    assert [stage.planes for stage in found] == [((0, 0),), ((0, 0),)]
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
    assert found[0].planes == tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))
    wide = {"type": "ckn_pool", "kind": "gaussian", "subsampling": 2}
    found = stages([wide, {"type": "flatten"}], (12, 12, 3))
    assert found[0].planes == tuple((a, b) for a in range(-4, 5) for b in range(-4, 5))
    strided = {"type": "ckn_pool", "kind": "strided", "subsampling": 2}
    found = stages([strided, strided, {"type": "flatten"}], (12, 12, 3))
    assert (0, 0) in found[0].planes


def test_strides_stretch_offsets():
    strided = {"type": "conv", "size": 3, "strides": [2, 1]}
    found = stages([strided, strided, {"type": "global_avg_pool"}], (9, 4, 1))
    assert found[0].scale == (4, 1)
    assert found[0].after == (3, 4)
    assert set(found[0].start_planes) == {(4 * a, b) for a in range(-2, 3) for b in range(-3, 4)}


def test_sequences_and_what_follows_a_readout_are_images_of_width_1():
    layers = [{"type": "conv", "size": 3}, {"type": "global_avg_pool"}, {"type": "dense"}]
    found = stages(layers, (7, 2), input={"layout": "sequence"})
    assert found[0].before == (7, 1)
    assert len(found[0].planes) == 13
    assert found[1].before == (1, 1)
    assert [step.layer.type for step in found[1].steps] == ["dense"]


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([{"type": "residual", "branches": [[], []]}, {"type": "flatten"}], r"layers\[0\]"),
        ([{**CONV, "padding": "circular"}, {"type": "flatten"}], "wraps around"),
        ([{**CONV, "fill": 2}, {"type": "flatten"}], "zeros"),
        ([{"type": "avg_pool", "window": 2, "normalize_edges": True}], "edges"),
        ([{"type": "dense"}], "no positions"),
    ],
)
def test_what_is_not_cut_says_why(layers, reason):
    import re

    assert re.search(reason, find_unstaged(parse_kernel({"layers": layers})))


def test_operations_are_counted_on_the_planes_that_are_needed():
    network = [CONV, RELU, CONV, RELU]
    whole = parse_kernel({"layers": [*network, {"type": "global_avg_pool"}]})
    one = parse_kernel({"layers": [*network, {"type": "flatten"}]})
    dense = count_operations(whole, (16, 16, 3))
    assert dense.plane_operations == dense.operations
    flat = count_operations(one, (16, 16, 3))
    # One plane of 256 entries instead of 256^2.
    assert flat.plane_operations == pytest.approx(flat.operations / 256, rel=0.02)
    branch = {"type": "residual", "branches": [[], [CONV]]}
    refused = count_operations(parse_kernel({"layers": [branch, {"type": "flatten"}]}), (4, 4, 1))
    assert refused.plane_operations == refused.operations
