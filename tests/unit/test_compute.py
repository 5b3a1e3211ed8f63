"""compute_gram: what it takes, what it refuses."""

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.errors import (
    InvalidDataError,
    ShapeError,
    SpecError,
    UnknownLayerError,
    UnsupportedDtypeError,
)

LINEAR = {"layers": [{"type": "dense"}]}


def test_more_items_than_a_tile_are_computed_once_and_mirrored():
    x = np.random.default_rng(0).normal(size=(600, 3))
    found = compute_gram(x, kernel=LINEAR, precision="float64")
    assert np.allclose(found, x @ x.T, rtol=1e-13)
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("dtype", ["u1", "i2", "<f4", ">f4", "f8", "f2", "?"])
def test_any_real_dtype_is_used_as_it_is(dtype):
    x = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype)
    exact = x.astype(float) @ x.astype(float).T
    assert np.array_equal(compute_gram(x, kernel=LINEAR, precision="float64"), exact)
    assert np.array_equal(compute_gram(np.asfortranarray(x), kernel=LINEAR), exact)


def test_two_kernels_come_as_a_dict():
    found = compute_gram(np.eye(2), kernel={"preset": "fc", "kernel": ["ntk", "nngp"]})
    assert list(found) == ["nngp", "ntk"]
    assert found["ntk"].dtype == np.float32


def test_one_item_is_enough():
    assert compute_gram(np.ones((1, 8, 8, 1)), kernel="myrtle5") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.ones((3, 28, 28)), ShapeError, r"x\[\.\.\., None\]"),
        (np.ones((3, 2)), ShapeError, "needs positions"),
        (np.ones((0, 8, 8, 1)), InvalidDataError, "holds no items"),
        (np.ones(5), ShapeError, "items come first"),
        (np.ones((2, 8, 8, 1), complex), UnsupportedDtypeError, "not real numbers"),
        (np.full((2, 8, 8, 1), None), UnsupportedDtypeError, "object"),
        (np.array([np.ones((8, 8, 1)), np.full((8, 8, 1), np.nan)]), InvalidDataError, "item 1 "),
        (np.ones((2, 2, 2, 1)), ShapeError, r"layers\[7\] \(avg_pool\)"),
    ],
)
def test_bad_items_are_refused_with_a_remedy(x, kind, words):
    with pytest.raises(kind, match=words):
        compute_gram(x, kernel="myrtle5")


def test_items_of_two_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"\(3,\).*\(4,\)"):
        compute_gram(np.ones((2, 3)), np.ones((2, 4)), kernel=LINEAR)


def test_unknown_presets_and_precisions_name_the_nearest():
    with pytest.raises(UnknownLayerError, match="myrtle5"):
        compute_gram(np.ones((2, 3)), kernel="mirtle5")
    with pytest.raises(SpecError, match="did you mean 'float32'"):
        compute_gram(np.ones((2, 3)), kernel=LINEAR, precision="flaot32")


def test_equal_bytes_of_two_dtypes_are_two_items():
    signed, unsigned = np.array([[-1, 1]], np.int8), np.array([[255, 1]], np.uint8)
    found = compute_gram(unsigned, signed, kernel="fc", precision="float64")
    exact = compute_gram(unsigned / 1.0, signed / 1.0, kernel="fc", precision="float64")
    assert found == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("dtypes", [("u1", "f8"), (">f4", "<f4"), ("?", "i2")])
def test_one_item_in_two_dtypes_is_known_to_be_one(dtypes):
    x = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 1]])
    kernel = {"preset": "fc", "kernel": "ntk"}
    cross = compute_gram(x.astype(dtypes[0]), x.astype(dtypes[1]), kernel=kernel)
    assert np.array_equal(np.diag(cross), np.diag(compute_gram(x, kernel=kernel)))


@pytest.mark.parametrize("precision", ["float32", "mixed", "float64"])
def test_threads_change_nothing(precision):
    x = np.random.default_rng(0).normal(size=(37, 6, 6, 2))
    one = compute_gram(x, kernel="myrtle5", precision=precision, threads=1)
    for threads in (2, 5):
        found = compute_gram(x, kernel="myrtle5", precision=precision, threads=threads)
        assert np.array_equal(found, one)


def test_threads_that_are_none_are_refused():
    with pytest.raises(SpecError, match="threads must be at least 1, got 0"):
        compute_gram(np.eye(3), kernel=LINEAR, threads=0)
