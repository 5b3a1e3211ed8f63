"""A Gram matrix on a server, used like an array."""

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gramserve.client.cards import html_card, kernel_text, size_text, text_card
from gramserve.client.connection import Connection
from gramserve.client.indexing import select
from gramserve.client.items import check_finite, items_of, npy_header, npy_pieces
from gramserve.client.provenance import GramProvenance
from gramserve.client.rows import ANSWER_BYTES, RowReader
from gramserve.errors import MemoryBudgetError, RowRangeError, ShapeError
from gramserve.spec import (
    Derivative,
    KernelName,
    KernelSpec,
    derivative_shape,
    parse_derivative,
    parse_kernel,
)
from gramserve.spec.status import GramReport

if TYPE_CHECKING:
    import zarr

READ_LIMIT_BYTES = 2**30
"""What ``np.asarray(gram)`` and ``gram.read()`` take into memory without being told more."""

_EVALUATE_BYTES = 32 * 2**20
_EVALUATE_TIMEOUT_S = 3600.0
_NPY = "application/x-npy"


class Gram(GramProvenance):
    """A Gram matrix ``K[i, j] = k(x_i, x'_j)`` that lies on a server.

    Indexing follows NumPy (integers, slices with any step, lists, masks, ``np.ix_``) and
    fetches only what is selected. Blocks that are not computed yet raise
    :class:`~gramserve.errors.BlockMissingError`; they are never filled with NaN.

    Parameters
    ----------
    connection : Connection
        To the server.
    report : GramReport
        What the server says about it.
    """

    def __init__(self, connection: Connection, report: GramReport) -> None:
        super().__init__(connection)
        self._report = report

    @property
    def report(self) -> GramReport:
        """What the server said about it at the last :meth:`refresh`."""
        return self._report

    @property
    def id(self) -> str:
        """32 hexadecimal digits that name its content and layout."""
        return self._report.id

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self._report.shape

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return np.dtype(self._report.dtype)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole matrix in memory."""
        return self.size * self.dtype.itemsize

    @property
    def spec(self) -> KernelSpec:
        """The expanded kernel spec, with one kernel."""
        return parse_kernel(self._report.kernel)

    @property
    def kernel(self) -> KernelName:
        """Which kernel of the network it holds, ``"nngp"`` or ``"ntk"``."""
        return self.spec.kernels[0]

    @property
    def complete(self) -> bool:
        """Whether every block was computed at the last :meth:`refresh`."""
        return self._report.complete

    def refresh(self) -> "Gram":
        """Ask the server again how complete it is.

        Returns
        -------
        Gram
            Itself.
        """
        body = self._connection.get(f"/v1/grams/{self.id}")
        self._report = GramReport.model_validate(body)
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self._reader().select(select(key, self.shape))[()]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for _, values in self.row_blocks():
            yield from values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            msg = "a Gram matrix on a server cannot be an array without copying it here"
            raise ValueError(msg)
        values = self._whole(READ_LIMIT_BYTES, "np.asarray")
        return values if dtype is None else values.astype(dtype, copy=False)

    def read(self, *, max_bytes: int | None = READ_LIMIT_BYTES) -> NDArray[Any]:
        """Fetch the whole matrix.

        Parameters
        ----------
        max_bytes : int or None
            Refuse when it is larger, in bytes; None takes any size.

        Returns
        -------
        ndarray, shape ``self.shape``
            In memory.

        Raises
        ------
        MemoryBudgetError
            When it has more than ``max_bytes``.
        BlockMissingError
            When it is not complete.
        """
        return self._whole(max_bytes, "read")

    def rows(
        self, start: int, stop: int, *, columns: ArrayLike | None = None, wait: float = 0.0
    ) -> NDArray[Any]:
        """Fetch a range of rows, waiting for blocks that are not computed yet if asked to.

        Parameters
        ----------
        start, stop : int
            Half-open range, ``0 <= start <= stop <= len(gram)``.
        columns : array_like of int, shape (c,), optional
            Some columns; all when not given.
        wait : float
            Seconds to wait for missing blocks, which the server then computes first.

        Returns
        -------
        ndarray, shape (stop - start, c)
            The rows.

        Raises
        ------
        RowRangeError
            When the range leaves the matrix.
        BlockMissingError
            When blocks are still missing after ``wait`` seconds.
        """
        if not 0 <= start <= stop <= len(self):
            msg = f"rows {start} to {stop} of a Gram matrix with {len(self)} rows"
            raise RowRangeError(msg, start=start, stop=stop, rows=len(self))
        wanted = None
        if columns is not None:
            wanted = select((slice(None), np.asarray(columns)), self.shape).columns
        return self._reader().read(np.arange(start, stop, dtype=np.intp), wanted, wait_s=wait)

    def row_blocks(self, count: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Go through the matrix from top to bottom, a run of rows at a time.

        Parameters
        ----------
        count : int, optional
            Rows of a run; as many as fit one answer when not given.

        Yields
        ------
        int
            Index of the run's first row.
        ndarray, shape (count, columns)
            The rows; the last run may be shorter.
        """
        width_bytes = max(1, self.shape[1] * self.dtype.itemsize)
        step = max(1, ANSWER_BYTES // width_bytes) if count is None else count
        if step < 1:
            msg = f"row_blocks(count={count}): a run needs at least one row"
            raise RowRangeError(msg, count=count)
        for start in range(0, len(self), step):
            yield start, self.rows(start, min(start + step, len(self)))

    def diagonal(self) -> NDArray[Any]:
        """Fetch ``K[i, i]``.

        Returns
        -------
        ndarray, shape (min(rows, columns),)
            In the matrix' dtype.
        """
        return self._connection.fetch_array("GET", f"/v1/grams/{self.id}/diagonal")

    def evaluate(
        self,
        x_new: ArrayLike,
        *,
        derivative: Derivative | None = None,
        preprocess: bool = False,
        timeout_s: float = _EVALUATE_TIMEOUT_S,
    ) -> NDArray[Any]:
        """Compute kernel rows of new items, or a derivative, against the columns' data set.

        ``K_new[i, j] = k(x_new_i, x'_j)``

        Parameters
        ----------
        x_new : array_like or path, shape (n, ...)
            Items of the same shape as the data set's; nothing of them is stored.
        derivative : {"dx", "dx2", "dxdx2", "dxdx"}, optional
            A derivative in the new item x, in the data set's item x', in both, or twice in x, in
            place of the kernel; for vectors (:func:`gramserve.compute_derivative`).
        preprocess : bool
            Whether ``x_new`` are items as they were uploaded at first, to be preprocessed at
            the server as the data set of the columns was, with what was fitted then. Without
            it, they are used as they are.
        timeout_s : float
            Seconds to wait for each batch.

        Returns
        -------
        ndarray, shape (n, columns), or (n, columns, D) or (n, columns, D, D) for a derivative
            The rows. Derivatives are float64, and inf where they do not exist.

        Raises
        ------
        SpecError
            When there is no such derivative, or a layer has none.
        QuotaError
            When the answer for one item is more than the server computes at once.
            With ``preprocess``, when the data set of the columns was not preprocessed.
        """
        values = items_of(x_new)
        check_finite(values)
        shape: tuple[int, ...] = (len(values), self.shape[1])
        dtype = self.dtype
        if derivative is not None:
            parse_derivative(derivative)
            if values.ndim != 2:
                msg = f"derivatives are taken of vectors (n, D), x_new has shape {values.shape}"
                raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])
            shape = derivative_shape(derivative, len(values), self.shape[1], values.shape[1])
            dtype = np.dtype(np.float64)
        answer_bytes = prod(shape[1:]) * dtype.itemsize
        per_item = max(values.nbytes // len(values), answer_bytes, 1)
        step = max(1, _EVALUATE_BYTES // per_item)
        out = np.empty(shape, dtype)
        for start in range(0, len(values), step):
            run = slice(start, start + step)
            params: dict[str, str] = {} if derivative is None else {"derivative": derivative}
            if preprocess:
                params["preprocess"] = "true"
            self._evaluate(values[run], params, timeout_s, out[run])
        return out

    def zarr(self) -> "zarr.Array[Any]":
        """Open the stored array over HTTP, read-only and lazily.

        Returns
        -------
        zarr.Array
            Reading blocks that are not computed yet raises
            :class:`~gramserve.errors.BlockMissingError`.
        """
        from gramserve.client.remote import open_remote  # noqa: PLC0415 - zarr takes a second

        return open_remote(self._connection, self.id)

    def __repr__(self) -> str:
        return text_card(f"Gram {self.id}", self._facts())

    def _repr_html_(self) -> str:
        return html_card(f"Gram {self.id}", self._facts())

    def _facts(self) -> dict[str, object]:
        report = self._report
        blocks = report.blocks
        state = "complete" if report.complete else f"{blocks.done} of {blocks.total} blocks"
        return {
            "shape": f"{self.shape[0]} x {self.shape[1]}",
            "dtype": f"{self.dtype} ({size_text(self.nbytes)})",
            "kernel": kernel_text(report.kernel),
            "precision": report.precision,
            "data set": report.dataset[:12],
            "other": None if report.other is None else report.other[:12],
            "state": state,
        }

    def _reader(self) -> RowReader:
        return RowReader(self._connection, self._report)

    def _whole(self, max_bytes: int | None, who: str) -> NDArray[Any]:
        if max_bytes is not None and self.nbytes > max_bytes:
            msg = (
                f"the Gram matrix has {size_text(self.nbytes)}, {who} takes at most "
                f"{size_text(max_bytes)}; take a part by slicing (gram[start:stop]), or all of it "
                f"with gram.read(max_bytes={self.nbytes})"
            )
            raise MemoryBudgetError(msg, bytes=self.nbytes, max_bytes=max_bytes)
        return self.rows(0, len(self))

    def _evaluate(
        self, values: NDArray[Any], params: dict[str, str], timeout_s: float, out: NDArray[Any]
    ) -> None:
        headers = {
            "Content-Type": _NPY,
            "Content-Length": str(len(npy_header(values)) + values.nbytes),
        }
        path = f"/v1/grams/{self.id}/rows:evaluate"

        self._connection.repeat(
            # Each attempt needs a fresh stream of the items.
            lambda: self._connection.fetch_array_once(
                "POST",
                path,
                content=npy_pieces(values),
                headers=headers,
                params=params,
                out=out,
                timeout_s=timeout_s,
            )
        )
