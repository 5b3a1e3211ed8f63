"""Rows of a Gram matrix over HTTP, in requests of bounded size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.client.connection import Connection
from gramserve.client.indexing import Selection
from gramserve.spec.status import GramReport

ANSWER_BYTES = 64 * 2**20
"""No answer is asked for that is larger than this, as long as one row is smaller."""

_PATIENCE_S = 30.0


class RowReader:
    """Reads rows of one Gram matrix.

    Parameters
    ----------
    connection : Connection
        To the server.
    report : GramReport
        Names the matrix, its shape and dtype.
    answer_bytes : int
        Largest answer to ask for, in bytes.
    """

    def __init__(
        self, connection: Connection, report: GramReport, answer_bytes: int = ANSWER_BYTES
    ) -> None:
        self._connection = connection
        self._path = f"/v1/grams/{report.id}/rows"
        self._width = report.shape[1]
        self._dtype = np.dtype(report.dtype).newbyteorder("<")
        self._answer_bytes = answer_bytes

    def select(self, selection: Selection) -> NDArray[Any]:
        """Fetch what an index selects.

        Parameters
        ----------
        selection : Selection
            From :func:`gramserve.client.indexing.select`.

        Returns
        -------
        ndarray, shape ``selection.shape``
            In the matrix' dtype; 0-dimensional for one entry.
        """
        if selection.points is None:
            return self.read(selection.rows, selection.columns).reshape(selection.shape)
        result = np.empty(len(selection.points[0]), self._dtype)
        row_place, column_place = selection.points
        for start, stop in self._batches(len(selection.rows), selection.columns):
            values = self.read(selection.rows[start:stop], selection.columns)
            here = (row_place >= start) & (row_place < stop)
            result[here] = values[row_place[here] - start, column_place[here]]
        return result.reshape(selection.shape)

    def read(
        self,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp] | None = None,
        *,
        wait_s: float = 0.0,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Fetch whole rows, or some of their columns.

        Parameters
        ----------
        rows : ndarray of int, shape (r,)
            Rows in the order wanted; not negative.
        columns : ndarray of int, shape (c,), optional
            Columns in the order wanted; all when not given.
        wait_s : float
            Seconds that the server may wait for blocks not yet computed, which go to the front.
        out : ndarray, shape (r, c), optional
            Where to put the numbers; C-contiguous.

        Returns
        -------
        ndarray, shape (r, c)
            ``out``, or a new array.

        Raises
        ------
        BlockMissingError
            When blocks are not computed (in time); nothing is ever filled in for them.
        """
        width = self._width if columns is None else len(columns)
        if out is None:
            out = np.empty((len(rows), width), self._dtype)
        if out.size:
            for start, stop in self._batches(len(rows), columns):
                self._request(rows[start:stop], columns, wait_s, out[start:stop])
        return out

    def _batches(self, count: int, columns: NDArray[np.intp] | None) -> list[tuple[int, int]]:
        width = self._width if columns is None else len(columns)
        step = max(1, self._answer_bytes // max(1, width * self._dtype.itemsize))
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def _request(
        self,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp] | None,
        wait_s: float,
        out: NDArray[Any],
    ) -> None:
        timeout_s = max(self._connection.timeout_s, wait_s + _PATIENCE_S)
        if columns is None and (np.diff(rows) == 1).all():
            window = {"start": int(rows[0]), "stop": int(rows[-1]) + 1, "wait": wait_s}
            self._connection.fetch_array(
                "GET", self._path, params=window, out=out, timeout_s=timeout_s
            )
            return
        wanted = None if columns is None else columns.tolist()
        body = {"rows": rows.tolist(), "columns": wanted, "wait": wait_s}
        self._connection.fetch_array("POST", self._path, json=body, out=out, timeout_s=timeout_s)
