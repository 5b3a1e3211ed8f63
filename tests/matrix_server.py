"""A stand-in for the rows of one Gram matrix, as an httpx transport over an array in memory."""

import json

import httpx
import numpy as np

from gramserve.client.connection import Connection
from gramserve.client.gram import Gram
from gramserve.spec import parse_kernel
from gramserve.spec.status import GramReport


def gram_report(matrix, **changes):
    """Return the report of a Gram matrix that holds these numbers."""
    body = {
        "id": "0" * 32,
        "kernel": parse_kernel("fc").canonical(),
        "dataset": "1" * 64,
        "other": None,
        "shape": matrix.shape,
        "dtype": str(matrix.dtype),
        "precision": "float32",
        "block_size": 4,
        "complete": True,
        "blocks": {"total": 1, "done": 1},
    }
    return GramReport.model_validate(body | changes)


class MatrixTransport(httpx.BaseTransport):
    """Answers row requests from an array; counts and keeps the requests."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.requests = []

    def handle_request(self, request):
        request.read()
        self.requests.append(request)
        path = request.url.path
        if path.endswith("/diagonal"):
            return array_response(np.ascontiguousarray(np.diagonal(self.matrix)))
        if request.method == "GET":
            window = request.url.params
            values = self.matrix[int(window["start"]) : int(window["stop"])]
        else:
            body = json.loads(request.content)
            values = self.matrix[body["rows"]]
            values = values if body["columns"] is None else values[:, body["columns"]]
        return array_response(np.ascontiguousarray(values))


def array_response(values, **headers):
    """Return an answer with an array's bytes and its headers."""
    described = {
        "X-Gram-Shape": ",".join(str(length) for length in values.shape),
        "X-Gram-Dtype": values.dtype.newbyteorder("<").str,
    }
    return httpx.Response(
        200, headers=described | headers, stream=httpx.ByteStream(values.tobytes())
    )


def gram_over(matrix):
    """Return a Gram of the client whose server holds this matrix, and the server."""
    transport = MatrixTransport(matrix)
    connection = Connection("http://gram.test", transport=transport)
    return Gram(connection, gram_report(matrix)), transport
