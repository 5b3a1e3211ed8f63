import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gramserve.client.items import check_finite, items_of, npy_header, npy_pieces
from gramserve.errors import InvalidDataError, ShapeError, UnsupportedDtypeError


def received(values):
    """Return what a server reads from the stream."""
    stream = b"".join(npy_pieces(values))
    assert len(stream) == len(npy_header(values)) + values.nbytes
    return np.load(io.BytesIO(stream), allow_pickle=False)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, ">i4", np.float16, "<f4", ">f8", bool]),
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
        elements=st.integers(0, 1),
    ),
    st.sampled_from(["C", "F", "strided"]),
)
def test_any_order_and_endianness_arrives_as_little_endian_c(values, order):
    sent = values[::-1] if order == "strided" else np.asarray(values, order=order)
    found = received(sent)
    assert found.dtype == sent.dtype.newbyteorder("<")
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, sent)


def test_many_pieces_make_one_file():
    values = np.arange(3_000_000, dtype=np.float32).reshape(3000, 1000)
    assert len(list(npy_pieces(values))) > 3
    np.testing.assert_array_equal(received(values), values)


@pytest.mark.parametrize(
    "values",
    [
        np.ones((2, 3), complex),
        np.array([[1, None]], dtype=object),
        np.array([["a"]]),
        np.zeros((2, 2), [("a", "f4")]),
        np.zeros((2, 2), "M8[s]"),
    ],
)
def test_what_is_not_a_real_number_is_refused(values):
    with pytest.raises(UnsupportedDtypeError, match="real numbers"):
        items_of(values)


@pytest.mark.parametrize("values", [np.ones((3, 0)), np.ones((0, 4)), [[]]])
def test_no_items_are_refused(values):
    with pytest.raises(InvalidDataError, match="no items"):
        items_of(values)


@pytest.mark.parametrize("values", [np.ones(()), np.ones(4), 3, []])
def test_fewer_than_two_axes_are_refused(values):
    with pytest.raises(ShapeError, match="two axes"):
        items_of(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_item_is_named(bad):
    values = np.ones((700, 40, 40), np.float32)
    values[650, 3, 3] = values[651, 0, 0] = bad
    with pytest.raises(InvalidDataError, match="item 650") as caught:
        check_finite(values)
    assert caught.value.context["item"] == 650


def test_a_file_is_mapped_and_sent_alike(tmp_path):
    values = np.arange(24, dtype=">i2").reshape(4, 3, 2)
    np.save(tmp_path / "x.npy", np.asfortranarray(values))
    np.testing.assert_array_equal(received(items_of(tmp_path / "x.npy")), values)
    np.testing.assert_array_equal(received(items_of(str(tmp_path / "x.npy"))), values)


def test_bad_files_say_what_is_wrong_with_them(tmp_path):
    with pytest.raises(InvalidDataError, match="no such file"):
        items_of(tmp_path / "none.npy")
    with pytest.raises(InvalidDataError, match="cannot be read"):
        items_of(tmp_path)
    (tmp_path / "text.npy").write_text("hello, these are not numbers")
    with pytest.raises(InvalidDataError, match=r"text\.npy cannot be read"):
        items_of(tmp_path / "text.npy")
    np.save(tmp_path / "whole.npy", np.ones((100, 30)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-9])
    with pytest.raises(InvalidDataError, match="truncated"):
        items_of(tmp_path / "cut.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(UnsupportedDtypeError, match="Python objects"):
        items_of(tmp_path / "objects.npy")
