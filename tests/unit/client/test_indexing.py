import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matrix_server import gram_over

from gramserve.client.indexing import select
from gramserve.errors import MemoryBudgetError, RowRangeError

MATRIX = np.arange(7 * 5, dtype=np.float32).reshape(7, 5)


def axis_index(length):
    """Return indices of one axis, some of them out of range."""
    numbers = st.integers(-length - 2, length + 1)
    return st.one_of(
        numbers,
        numbers.map(np.int32),
        st.slices(length + 3),
        st.builds(slice, numbers | st.none(), numbers | st.none(), st.sampled_from([-3, -1, 2])),
        st.lists(numbers, max_size=6).map(lambda rows: np.array(rows, dtype=np.intp)),
        st.lists(numbers, min_size=1, max_size=6),
        hnp.arrays(np.intp, (2, 3), elements=numbers),
        hnp.arrays(bool, length),
    )


KEYS = st.one_of(
    axis_index(7),
    st.tuples(axis_index(7), axis_index(5)),
    st.tuples(axis_index(7), axis_index(5), st.just(Ellipsis)),
    st.tuples(st.just(Ellipsis), axis_index(5)),
    st.tuples(axis_index(7), st.just(None), axis_index(5)),
    st.tuples(axis_index(7), axis_index(5), axis_index(5)),
    hnp.arrays(bool, (7, 5)),
    st.just(Ellipsis),
    st.just(()),
    st.just(None),
    st.booleans(),
    hnp.basic_indices((7, 5), allow_newaxis=True, allow_ellipsis=True),
)


def outcome(array, key):
    """Return what indexing gives, or the kind of error that it raises."""
    try:
        return np.asarray(array[key])
    except IndexError:
        return IndexError


@settings(max_examples=400, deadline=None)
@given(key=KEYS)
def test_every_index_is_numpys(key):
    gram, _ = gram_over(MATRIX)
    expected, found = outcome(MATRIX, key), outcome(gram, key)
    if expected is IndexError:
        assert found is IndexError
    else:
        assert found is not IndexError
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_independent_arrays_as_grid():
    gram, server = gram_over(MATRIX)
    np.testing.assert_array_equal(gram[np.ix_([6, 0], [1, 1, 4])], MATRIX[[6, 0]][:, [1, 1, 4]])
    assert len(server.requests) == 1


def test_one_entry_is_a_number_not_an_array():
    gram, _ = gram_over(MATRIX)
    assert gram[6, -1] == MATRIX[6, -1]
    assert isinstance(gram[6, -1], np.float32)


def test_contiguous_rows_are_one_get_and_others_one_post():
    gram, server = gram_over(MATRIX)
    assert gram[2:5].shape == (3, 5)
    assert gram[[4, 2]].shape == (2, 5)
    assert [request.method for request in server.requests] == ["GET", "POST"]
    assert dict(server.requests[0].url.params)["start"] == "2"


def test_nothing_selected_is_nothing_asked():
    gram, server = gram_over(MATRIX)
    assert gram[3:3].shape == (0, 5)
    assert gram[:, []].shape == (7, 0)
    assert server.requests == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (7, "rows go from 0 to 6"),
        ((0, -6), "columns go from 0 to 4"),
        (([0, 1], [0, 9]), "7 rows and 5 columns"),
        ("a", "only integers"),
        (1.5, "only integers"),
    ],
)
def test_outside_names_the_range(key, words):
    gram, _ = gram_over(MATRIX)
    with pytest.raises(RowRangeError, match=words):
        gram[key]


def test_too_many_single_entries_are_refused_before_memory_is_taken():
    with pytest.raises(MemoryBudgetError, match="whole rows"):
        select(None, (200_000, 200_000))
