import numpy as np
import pytest
from matrix_server import MatrixTransport, gram_over, gram_report

from gramserve.client import gram as gram_module
from gramserve.client.connection import Connection
from gramserve.client.gram import Gram
from gramserve.client.indexing import select
from gramserve.client.rows import RowReader
from gramserve.errors import GramserveError, MemoryBudgetError, RowRangeError

MATRIX = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)


def test_asarray_is_the_matrix():
    gram, _ = gram_over(MATRIX)
    np.testing.assert_array_equal(np.asarray(gram), MATRIX)
    assert np.asarray(gram, dtype=np.float64).dtype == np.float64
    assert np.array(gram, copy=True).flags.writeable


def test_asarray_without_a_copy_is_refused():
    gram, _ = gram_over(MATRIX)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(gram, copy=False)


def test_asarray_refuses_what_is_too_large_and_says_what_to_do():
    report = gram_report(np.broadcast_to(np.float32(0), (60_000, 60_000)))
    gram = Gram(Connection("http://gram.test", transport=MatrixTransport(MATRIX)), report)
    with pytest.raises(MemoryBudgetError, match=r"13\.4 GiB.*1\.0 GiB.*slicing.*max_bytes=144"):
        np.asarray(gram)
    with pytest.raises(MemoryBudgetError):
        gram.read()


def test_read_takes_what_it_is_told():
    gram, _ = gram_over(MATRIX)
    with pytest.raises(MemoryBudgetError):
        gram.read(max_bytes=MATRIX.nbytes - 1)
    np.testing.assert_array_equal(gram.read(max_bytes=MATRIX.nbytes), MATRIX)
    np.testing.assert_array_equal(gram.read(max_bytes=None), MATRIX)


def test_large_reads_are_several_requests():
    server = MatrixTransport(MATRIX)
    connection = Connection("http://gram.test", transport=server)
    reader = RowReader(connection, gram_report(MATRIX), answer_bytes=2 * 6 * 4)
    np.testing.assert_array_equal(reader.read(np.arange(9)), MATRIX)
    assert len(server.requests) == 5
    mask = MATRIX > 0.5
    np.testing.assert_array_equal(reader.select(select(mask, (9, 6))), MATRIX[mask])


def test_a_row_larger_than_an_answer_is_asked_for_alone():
    server = MatrixTransport(MATRIX)
    connection = Connection("http://gram.test", transport=server)
    reader = RowReader(connection, gram_report(MATRIX), answer_bytes=1)
    np.testing.assert_array_equal(reader.read(np.arange(3)), MATRIX[:3])
    assert len(server.requests) == 3


def test_iteration_goes_row_by_row_and_fetches_blocks():
    gram, server = gram_over(MATRIX)
    for expected, row in zip(MATRIX, gram, strict=True):
        np.testing.assert_array_equal(row, expected)
    assert len(server.requests) == 1
    runs = list(gram.row_blocks(4))
    assert [start for start, _ in runs] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([values for _, values in runs]), MATRIX)


def test_runs_of_no_rows_are_refused():
    gram, _ = gram_over(MATRIX)
    with pytest.raises(RowRangeError, match="at least one row"):
        next(gram.row_blocks(0))


def test_rows_pass_the_wait_on_and_check_the_range():
    gram, server = gram_over(MATRIX)
    np.testing.assert_array_equal(gram.rows(2, 4, columns=[-1, 0], wait=3), MATRIX[2:4, [-1, 0]])
    assert b'"wait":3' in server.requests[0].content.replace(b" ", b"")
    for start, stop in ((-1, 2), (3, 2), (0, 10)):
        with pytest.raises(RowRangeError, match="9 rows"):
            gram.rows(start, stop)


def test_diagonal_takes_its_shape_from_the_answer():
    gram, _ = gram_over(MATRIX)
    np.testing.assert_array_equal(gram.diagonal(), np.diagonal(MATRIX))


def test_other_shape_than_asked_for_is_an_error():
    server = MatrixTransport(MATRIX[:, :5])
    gram = Gram(Connection("http://gram.test", transport=server), gram_report(MATRIX))
    with pytest.raises(GramserveError, match=r"\(1, 5\).*\(1, 6\)"):
        gram[0]


def test_cards_escape_what_the_server_says():
    report = gram_report(MATRIX, dataset="<script>alert(1)</script>")
    gram = Gram(Connection("http://gram.test", transport=MatrixTransport(MATRIX)), report)
    page = gram._repr_html_()
    assert "<script" not in page
    assert "&lt;script" in page
    assert "9 x 6" in repr(gram)
    assert "9 x 6" in page


def test_properties_are_those_of_an_array():
    gram, _ = gram_over(MATRIX)
    assert (gram.shape, gram.ndim, gram.size, gram.nbytes) == ((9, 6), 2, 54, 216)
    assert gram.dtype == np.float32
    assert len(gram) == 9
    assert gram.kernel == "nngp"
    assert gram_module.READ_LIMIT_BYTES == 2**30
