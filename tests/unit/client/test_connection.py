import json

import httpx
import numpy as np
import pytest
import stamina
from matrix_server import array_response

from gramserve.client import connect
from gramserve.client.client import Client
from gramserve.client.connection import DEFAULT_URL, Connection
from gramserve.errors import (
    AccessError,
    BlockMissingError,
    GramserveError,
    RowRangeError,
    ServiceUnreachableError,
    SpecError,
)


@pytest.fixture(autouse=True)
def _no_pauses():
    with stamina.set_testing(True, attempts=4):
        yield


def connection_of(handler, **options):
    """Return a connection whose server is a function."""
    return Connection("http://gram.test", transport=httpx.MockTransport(handler), **options)


class Flaky:
    """Loses the connection some times before it answers."""

    def __init__(self, losses, answer, error=httpx.ConnectError):
        self.losses, self.answer, self.error, self.requests = losses, answer, error, []

    def __call__(self, request):
        self.requests.append(request)
        if len(self.requests) <= self.losses:
            raise self.error("lost")
        return self.answer


def problem(status, **members):
    """Return a problem document."""
    return httpx.Response(status, json={"status": status, **members}, headers={"Retry-After": "2"})


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadError, httpx.ReadTimeout])
def test_a_get_is_asked_again_when_the_connection_is_lost(error):
    server = Flaky(2, httpx.Response(200, json={"a": 1}), error)
    assert connection_of(server).get("/v1/x") == {"a": 1}
    assert len(server.requests) == 3


def test_nobody_there_names_the_address_and_the_command():
    server = Flaky(99, None)
    with pytest.raises(ServiceUnreachableError, match=r"http://gram\.test.*gramserve serve"):
        connection_of(server).get("/v1/x")
    assert len(server.requests) == 4


def test_a_closed_port_is_unreachable():
    message = r"127\.0\.0\.1:1 .*gramserve serve"
    with (
        connect("http://127.0.0.1:1") as client,
        pytest.raises(ServiceUnreachableError, match=message),
    ):
        client.jobs()


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 429, 500])
def test_a_refusal_is_not_repeated(status):
    server = Flaky(0, problem(status, code="invalid_spec", detail="no"))
    with pytest.raises(SpecError):
        connection_of(server).get("/v1/x")
    assert len(server.requests) == 1


def test_a_problem_becomes_its_class_with_all_that_it_says():
    answer = problem(
        409,
        code="block_missing",
        title="t",
        detail="2 blocks are missing",
        errors=[{"loc": "rows", "message": "m"}],
        blocks=[[0, 1], [0, 2]],
        message="cannot be an argument twice",
        context={"gram": "g"},
    )
    with pytest.raises(BlockMissingError, match="2 blocks are missing") as caught:
        connection_of(Flaky(0, answer)).get("/v1/x")
    assert caught.value.errors == [{"loc": "rows", "message": "m"}]
    assert caught.value.context["blocks"] == [[0, 1], [0, 2]]
    assert caught.value.context["gram"] == "g"
    assert caught.value.context["status"] == 409
    assert caught.value.context["retry_after"] == "2"


def test_an_unknown_code_is_still_gramserves_error():
    with pytest.raises(GramserveError, match="new in a later version"):
        connection_of(Flaky(0, problem(418, code="teapot", detail="new in a later version"))).get(
            "/v1/x"
        )


def test_a_refused_key_says_where_keys_are_given():
    with pytest.raises(AccessError, match="GRAMSERVE_API_KEY"):
        connection_of(Flaky(0, problem(401, code="access", detail="no key"))).get("/v1/x")


def test_a_gateway_without_its_server_is_unreachable_and_asked_again():
    server = Flaky(0, httpx.Response(502, text="<h1>Bad gateway</h1>"))
    with pytest.raises(ServiceUnreachableError, match="answers 502"):
        connection_of(server).get("/v1/x")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, text="<html>"), "not JSON"),
        (httpx.Response(404, text="<html>"), "status 404"),
        (httpx.Response(500, text="oops"), "status 500"),
        (httpx.Response(200, json=[1]), "Dataset"),
        (httpx.Response(200, json={"digest": 3}), "Dataset"),
        (
            httpx.Response(
                200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip")
            ),
            "would not",
        ),
    ],
)
def test_answers_of_something_else_are_called_so(answer, words):
    client = Client("http://gram.test", transport=httpx.MockTransport(Flaky(0, answer)))
    with pytest.raises(GramserveError, match=words):
        client.datasets.get("0" * 64)


def test_something_that_is_not_a_listing_is_called_so():
    client = Client(
        "http://gram.test", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=3))
    )
    with pytest.raises(GramserveError, match="not a listing"):
        client.jobs()


def test_listings_are_read_page_by_page():
    digests = [f"{number:064}" for number in range(2500)]

    def handler(request):
        offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
        page = [
            {"digest": digest, "shape": [1, 1], "dtype": "uint8", "items": 1, "bytes": 1}
            for digest in digests[offset : offset + limit]
        ]
        return httpx.Response(200, json={"datasets": page})

    client = Client("http://gram.test", transport=httpx.MockTransport(handler))
    assert [dataset.digest for dataset in client.datasets.list()] == digests


def test_job_requests_are_repeated_with_one_idempotency_key():
    report = {"id": "j", "state": "queued", "gram": None, "grams": {}, "dataset": "d"}
    report |= {"other": None, "kernel": {}, "precision": "float32", "block_size": 4}
    report |= {"priority": 0, "blocks": {}, "progress": 0, "created": "2026-01-01T00:00:00Z"}
    server = Flaky(2, httpx.Response(202, json=report), httpx.ReadError)
    client = Client("http://gram.test", transport=httpx.MockTransport(server))
    assert client.submit("0" * 64, kernel="fc").state == "queued"
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert len(server.requests) == 3
    assert len(keys) == 1
    client.submit("0" * 64, kernel="fc")
    assert server.requests[-1].headers["Idempotency-Key"] not in keys


def test_commands_are_not_repeated():
    server = Flaky(1, httpx.Response(204))
    with pytest.raises(ServiceUnreachableError):
        connection_of(server).send("DELETE", "/v1/datasets/x")
    assert len(server.requests) == 1


def test_an_array_cut_short_is_an_error_and_never_returned():
    values = np.ones((3, 4), np.float32)
    short = array_response(values)
    short.stream = httpx.ByteStream(values.tobytes()[:-4])
    with pytest.raises(GramserveError, match="44 of the 48 bytes"):
        connection_of(Flaky(0, short)).fetch_array("GET", "/v1/x")
    long = array_response(values)
    long.stream = httpx.ByteStream(values.tobytes() + b"more")
    with pytest.raises(GramserveError, match="more than the 48 bytes"):
        connection_of(Flaky(0, long)).fetch_array("GET", "/v1/x")


def test_an_array_without_its_headers_is_an_error():
    with pytest.raises(GramserveError, match="without its shape"):
        connection_of(Flaky(0, httpx.Response(200, content=b"1234"))).fetch_array("GET", "/v1/x")


def test_an_array_lost_on_the_way_is_fetched_again():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)

    class Broken(httpx.SyncByteStream):
        def __iter__(self):
            yield values.tobytes()[:20]
            raise httpx.ReadError("lost")

    answers = [array_response(values), array_response(values)]
    answers[0].stream = Broken()
    found = connection_of(lambda _: answers.pop(0)).fetch_array("GET", "/v1/x")
    np.testing.assert_array_equal(found, values)


def test_address_and_key_come_from_arguments_then_environment(monkeypatch):
    monkeypatch.delenv("GRAMSERVE_URL", raising=False)
    monkeypatch.delenv("GRAMSERVE_API_KEY", raising=False)
    assert connect().url == DEFAULT_URL
    monkeypatch.setenv("GRAMSERVE_URL", "http://there:1/")
    monkeypatch.setenv("GRAMSERVE_API_KEY", "from-environment")
    assert connect().url == "http://there:1"
    seen = []

    def handler(request):
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200, json=[])

    connection_of(handler).get("/v1/x")
    connection_of(handler, api_key="given").get("/v1/x")
    assert seen == ["Bearer from-environment", "Bearer given"]


def test_bad_requests_are_found_before_anything_is_sent():
    server = Flaky(0, httpx.Response(500))
    client = Client("http://gram.test", transport=httpx.MockTransport(server))
    with pytest.raises(SpecError, match="myrtle5"):
        client.submit(np.ones((2, 4)), kernel="mirtle5")
    with pytest.raises(SpecError, match="block_size"):
        client.submit(np.ones((2, 4)), kernel="fc", block_size=0)
    with pytest.raises(SpecError, match=r"\[\.\.\., None\]"):
        client.submit(np.ones((5, 8, 8)), kernel="myrtle5")
    with pytest.raises(SpecError, match="NaN"):
        client.submit(np.full((2, 4), np.nan), kernel="fc")
    with pytest.raises(SpecError, match="precision"):
        client.plan("0" * 64, kernel="fc", precision="float16")
    assert server.requests == []


def test_row_range_error_of_the_server_is_an_index_error():
    answer = httpx.Response(422, content=json.dumps({"code": "row_range", "detail": "d"}))
    with pytest.raises(IndexError) as caught:
        connection_of(Flaky(0, answer)).get("/v1/x")
    assert isinstance(caught.value, RowRangeError)
