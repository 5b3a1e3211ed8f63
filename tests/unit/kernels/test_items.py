"""Items that no kernel can be computed of are refused, each with its remedy."""

import numpy as np
import pytest

from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError
from gramserve.kernels import check_dtype, check_items
from gramserve.spec import parse_kernel

VECTORS = parse_kernel("fc")
SEQUENCES = parse_kernel({"input": {"layout": "sequence"}, "layers": [{"type": "flatten"}]})


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", ">i4", "f2", "f4", ">f8", "g"])
def test_real_numbers_of_any_kind_pass(dtype):
    check_dtype(np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["c16", "O", "U3", "S2", "M8[s]", "m8[s]", [("a", "f4")]])
def test_everything_else_is_refused(dtype):
    with pytest.raises(UnsupportedDtypeError, match=r"not real numbers.*astype"):
        check_dtype(np.dtype(dtype))


def test_sequences_and_vectors_pass():
    check_items(np.ones((2, 5)), VECTORS)
    check_items(np.ones((2, 5, 3)), SEQUENCES)


def test_the_first_item_that_is_not_finite_is_named_and_the_others_counted():
    values = np.ones((5, 3))
    values[2, 1], values[4] = np.nan, np.inf
    with pytest.raises(InvalidDataError, match=r"item 2 of x2 .* \(2 of 5 items do\)") as caught:
        check_items(values, VECTORS, "x2")
    assert caught.value.errors[0]["loc"] == "items[2]"


@pytest.mark.parametrize("shape", [(), (3,)])
def test_items_need_an_axis_of_their_own(shape):
    with pytest.raises(ShapeError, match="at least two axes"):
        check_items(np.ones(shape), VECTORS)


@pytest.mark.parametrize("shape", [(3, 0), (2, 4, 0, 1)])
def test_items_without_numbers_are_refused(shape):
    with pytest.raises(ShapeError, match="hold no numbers"):
        check_items(np.ones(shape), VECTORS)


def test_images_are_not_sequences():
    with pytest.raises(ShapeError, match="not sequences"):
        check_items(np.ones((2, 8, 8, 1)), SEQUENCES)
