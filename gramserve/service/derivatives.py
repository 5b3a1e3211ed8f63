"""Derivatives of kernel rows of new items: computed on request in this process, by pieces.

They are there for kernels of vectors only, where a pair costs no more than its answer is long, so
no worker is asked.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import JSONResponse, Response

from gramserve.errors import QuotaError
from gramserve.kernels import (
    PIECE_BYTES,
    check_differentiable,
    check_items,
    differentiate_in_pieces,
)
from gramserve.rows import encode
from gramserve.service.background import run_in_daemon
from gramserve.service.formats import (
    JSON,
    array_headers,
    array_response,
    array_stream,
    refuse_large_json,
)
from gramserve.service.open_grams import OpenGram
from gramserve.service.state import ServiceState
from gramserve.spec import Derivative, derivative_shape, parse_kernel
from gramserve.store import DatasetStore

_WHOLE_BYTES = 2**21
"""Answers up to this size go out in one piece."""

_DTYPE = np.dtype(np.float64)


async def respond_with_derivative(
    state: ServiceState,
    gram: OpenGram,
    items: NDArray[Any],
    derivative: Derivative,
    kind: str,
    *,
    setting: str,
) -> Response:
    """Return a derivative of the kernel of new items with the items of the columns.

    Parameters
    ----------
    state : ServiceState
        Of the server.
    gram : OpenGram
        Whose kernel and columns.
    items : ndarray, (n, D)
        New items, of the shape of the data set's.
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Which; x is the new item.
    kind : str
        One of the formats of :mod:`gramserve.service.formats`.
    setting : str
        The setting that limits answers, for the message.

    Returns
    -------
    Response
        float64, (n, M, D) or (n, M, D, D), in pieces when it is large. Where a derivative does
        not exist: inf, which JSON writes as null.

    Raises
    ------
    SpecError
        When a layer has no derivatives, or the items cannot be used.
    QuotaError
        When the answer is larger than the server computes at once.
    NonFiniteKernelError
        When a number overflows.
    """
    record = gram.record
    spec = parse_kernel(record.spec)
    check_differentiable(spec)
    check_items(items, spec)
    shape = derivative_shape(derivative, len(items), record.columns, items.shape[1])
    if kind == JSON:
        refuse_large_json(shape)
    _check_size(shape, derivative, state.settings.max_evaluate_bytes, setting)
    rows = np.array(items)  # the file that it is mapped from goes with the request
    digest = record.other or record.dataset

    def pieces() -> Iterator[NDArray[np.float64]]:
        columns = DatasetStore(state.layout.datasets).read(digest).astype(np.float64)
        yield from differentiate_in_pieces(
            spec, rows, columns, derivative, spec.kernels[0], piece_bytes=PIECE_BYTES
        )

    if int(np.prod(shape, dtype=object)) * _DTYPE.itemsize <= _WHOLE_BYTES:
        values = await run_in_daemon(lambda: np.concatenate(list(pieces())), "derivative")
        return _json(values) if kind == JSON else array_response(values, kind)
    rest = pieces()
    # The first piece is waited for, so that what can go wrong is still said in a problem.
    first = await run_in_daemon(lambda: next(rest), "derivative")
    return array_stream(_encoded(first, rest), shape, _DTYPE, kind)


def _check_size(shape: tuple[int, ...], derivative: str, limit: int, setting: str) -> None:
    item_bytes = int(np.prod(shape[1:], dtype=object)) * _DTYPE.itemsize
    size = shape[0] * item_bytes
    if size <= limit:
        return
    if item_bytes > limit:
        remedy = (
            f"even one item has {item_bytes:,}; raise the setting, or compute it with "
            "gramserve.compute_derivative, for some columns or along directions"
        )
    else:
        remedy = f"send at most {limit // item_bytes} items"
    msg = (
        f"the derivative {derivative} would have {size:,} bytes, this server computes {limit:,} "
        f"at once ({setting}); {remedy}"
    )
    raise QuotaError(msg, status=413, limit_bytes=limit)


def _json(values: NDArray[np.float64]) -> Response:
    """Return numbers as JSON, which knows no infinity: null."""
    known = values.astype(object)
    known[np.isinf(values)] = None
    body = {"shape": list(values.shape), "dtype": values.dtype.name, "values": known.tolist()}
    return JSONResponse(body, headers=array_headers(values.shape, values.dtype))


def _encoded(first: NDArray[Any], rest: Iterator[NDArray[Any]]) -> Iterator[bytes]:
    yield encode(first)
    for values in rest:
        yield encode(values)
