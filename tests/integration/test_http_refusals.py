"""Everything that is refused, and how it is said."""

import json

import numpy as np
import pytest
import structlog
from service_app import KERNEL, KEY, NPY, npy, problem, running_service, small_images

from gramserve.errors import StorageFullError
from gramserve.service import bodies

NOTHING = "0" * 64


@pytest.fixture
async def service(tmp_path):
    async with running_service(
        tmp_path, max_upload_bytes=10_000, max_evaluate_bytes=2_000, max_response_bytes=2_000
    ) as running:
        yield running


async def upload(service, content, kind=NPY):
    headers = {"Content-Type": kind} if kind else {}
    return await service.http.post("/v1/datasets", content=content, headers=headers)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Basic {KEY}", 401),
        (f"bearer {KEY}", 200),
    ],
)
async def test_a_key_is_needed(service, header, status):
    headers = {} if header is None else {"Authorization": header}
    del service.http.headers["Authorization"]
    answer = await service.http.get("/v1/jobs", headers=headers)
    assert answer.status_code == status
    if status == 401:
        problem(answer, 401, "access")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_scopes_are_kept_apart(service):
    made = await service.http.post("/v1/keys", json={"name": "guest", "scopes": ["read"]})
    guest = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await service.http.get("/v1/datasets", headers=guest)).status_code == 200
    digest = await service.upload(small_images(3))
    for method, path in (
        ("POST", "/v1/datasets"),
        ("POST", "/v1/jobs"),
        ("DELETE", f"/v1/datasets/{digest}"),
        ("POST", "/v1/keys"),
    ):
        refused = await service.http.request(method, path, headers=guest)
        assert "scope" in problem(refused, 403, "access")["detail"]


async def test_keys_must_make_sense(service):
    for body in ({"name": ""}, {"name": "x", "scopes": ["king"]}, {"name": "x", "days": 0}):
        problem(await service.http.post("/v1/keys", json=body), 422, "invalid_spec")
    problem(await service.http.delete("/v1/keys/none"), 404, "not_found")


async def test_paths_and_methods_that_are_not_there(service):
    for path in ("/", "/v1", "/v1/jobs/", "/v1/nothing", "/docs"):
        problem(await service.http.get(path), 404, "unknown_path")
    answer = await service.http.put("/v1/jobs")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    answer = await service.http.post(f"/v1/datasets/{NOTHING}")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET"


async def test_things_that_are_not_there(service):
    get = service.http.get
    problem(await get("/v1/jobs/none"), 404, "job_not_found")
    problem(await get("/v1/jobs/none/events"), 404, "job_not_found")
    problem(await service.http.delete("/v1/jobs/none"), 404, "job_not_found")
    problem(await service.http.post("/v1/jobs/none:pause"), 404, "job_not_found")
    problem(await get(f"/v1/datasets/{NOTHING}"), 404, "not_found")
    problem(await get("/v1/datasets/..%2F..%2Fetc"), 404, "unknown_path")
    problem(await service.http.delete(f"/v1/datasets/{NOTHING}"), 404, "not_found")
    for gram in ("0" * 32, "x", "%2e%2e"):
        problem(await get(f"/v1/grams/{gram}/diagonal"), 404, "not_found")
    job = {"dataset": NOTHING, "kernel": "myrtle5"}
    problem(await service.http.post("/v1/jobs", json=job), 404, "not_found")
    problem(await service.http.post("/v1/plans", json=job), 404, "not_found")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"dataset": NaN}', b"[" * 100_000, b'{"a":' * 100_000],
)
async def test_malformed_json(service, content):
    for path in ("/v1/jobs", "/v1/plans", "/v1/kernels:describe"):
        answer = await service.http.post(
            path, content=content, headers={"Content-Type": "application/json"}
        )
        problem(answer, 400, "malformed_body")


async def test_json_that_is_no_request(service):
    for text in (b"[]", b'"text"', b"3", b"null", b"true"):
        answer = await service.http.post("/v1/jobs", content=text)
        assert "object" in problem(answer, 422, "invalid_spec")["detail"]
    answer = await service.http.post(
        "/v1/jobs", content=b"<job/>", headers={"Content-Type": "application/xml"}
    )
    problem(answer, 415, "unsupported_media_type")


async def test_deep_layers_are_refused_not_fatal(service):
    layers = [{"type": "relu"}]
    for _ in range(300):
        layers = [{"type": "residual", "branches": [layers]}]
    text = json.dumps({"kernel": {"layers": layers}}).encode()
    answer = await service.http.post(
        "/v1/kernels:describe", content=text, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    problem(answer, answer.status_code, answer.json()["code"])


async def test_large_json(service, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_JSON_BYTES", 1000)
    answer = await service.http.post("/v1/jobs", json={"dataset": "x" * 1000})
    assert problem(answer, 413, "quota")["context"]["limit_bytes"] == 1000


async def test_all_faults_of_a_job_are_reported_together(service):
    digest = await service.upload(small_images(3))
    body = {"dataset": digest, "kernel": "mytrle5", "block_size": 0, "colour": "red"}
    faults = problem(await service.http.post("/v1/jobs", json=body), 422, "unknown_layer")["errors"]
    places = {fault["loc"].split(".")[0]: fault["message"] for fault in faults}
    assert {"block_size", "colour", "kernel"} <= set(places)
    assert "myrtle5" in json.dumps(faults)


async def test_images_without_their_channel_axis(service):
    digest = await service.upload(small_images(4)[..., 0])
    answer = await service.http.post("/v1/jobs", json={"dataset": digest, "kernel": "myrtle5"})
    assert "x[..., None]" in problem(answer, 422, "shape")["detail"]


async def test_two_data_sets_of_different_items(service):
    first, second = await service.upload(small_images(4)), await service.upload(np.eye(3))
    body = {"dataset": first, "other": second, "kernel": KERNEL}
    assert (
        "(10, 10, 1)"
        in problem(await service.http.post("/v1/jobs", json=body), 422, "shape")["detail"]
    )


async def test_a_block_that_does_not_fit_a_worker(tmp_path):
    async with running_service(tmp_path, worker_memory_bytes=2**20) as service:
        digest = await service.upload(small_images(100))
        body = {"dataset": digest, "kernel": KERNEL, "block_size": 1000}
        answer = await service.http.post("/v1/plans", json=body)
        refused = problem(answer, 422, "memory_budget")
        assert refused["context"]["allowed_bytes"] == 2**20
        assert "block_size <=" in refused["detail"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (npy(np.array([[1.0, np.nan]])), 422, "invalid_data"),
        (npy(np.array([[1.0, np.inf]])), 422, "invalid_data"),
        (npy(np.ones((0, 3))), 422, "invalid_data"),
        (npy(np.ones((4, 3)))[:-8], 422, "invalid_data"),
        (npy(np.ones((4, 3))) + b"more", 422, "invalid_data"),
        (b"", 422, "invalid_data"),
        (b"not a npy file at all", 422, "invalid_data"),
        (npy(np.ones((2, 3), complex)), 422, "unsupported_dtype"),
        (npy(np.array([["a", "b"]])), 422, "unsupported_dtype"),
        (npy(np.array([[None, 1]], object), allow_pickle=True), 422, "unsupported_dtype"),
        (npy(np.ones(3, [("a", "f4")])), 422, "unsupported_dtype"),
        (npy(np.float64(3)), 422, "shape"),
        (npy(np.ones(4)), 422, "shape"),
        (npy(np.ones((2000, 1))), 413, "quota"),
    ],
)
async def test_bad_uploads_leave_nothing_behind(service, content, status, code):
    problem(await upload(service, content), status, code)
    assert (await service.http.get("/v1/datasets")).json()["datasets"] == []
    assert list(service.state.layout.uploads.iterdir()) == []
    assert list(service.state.layout.datasets.iterdir()) == []


async def test_uploads_of_other_kinds(service):
    content = npy(np.ones((2, 3)))
    for kind in ("application/json", "text/csv", "multipart/form-data"):
        answer = await upload(service, content, kind)
        problem(answer, 415, "unsupported_media_type")
    assert (await upload(service, content, None)).status_code == 201
    assert (await upload(service, content, "application/octet-stream")).status_code == 200


async def test_a_long_upload_is_cut_off_on_arrival(service):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 10**7:
            sent += 5000
            yield b"x" * 5000

    answer = await service.http.post("/v1/datasets", content=endless())
    refused = problem(answer, 413, "quota")
    assert refused["context"]["limit_bytes"] == 10_000
    assert "GRAMSERVE_MAX_UPLOAD_BYTES" in refused["detail"]


async def test_a_full_disk(service, monkeypatch):
    def full(*_, **__):
        raise StorageFullError("no space left for the data set; free some")

    monkeypatch.setattr(service.state.datasets, "add", full)
    answer = await upload(service, npy(np.ones((2, 3))))
    problem(answer, 507, "storage_full")
    assert answer.headers["retry-after"]


async def test_a_data_set_in_use_stays(service):
    job = await service.compute(small_images(4))
    answer = await service.http.delete(f"/v1/datasets/{job['dataset']}")
    assert "Gram matri" in problem(answer, 409, "conflict")["detail"]


async def test_rows_that_cannot_be_read(service):
    job = await service.compute(small_images(20))
    path = f"/v1/grams/{job['gram']}/rows"
    get, post = service.http.get, service.http.post
    problem(await get(path, params={"start": 5, "stop": 21}), 422, "row_range")
    problem(await get(path, params={"start": 5, "stop": 4}), 422, "row_range")
    for params in ({"start": -1}, {"stop": "many"}, {"wait": -1}, {"wait": "nan"}):
        refused = problem(await get(path, params=params), 422, "invalid_spec")
        assert refused["errors"][0]["loc"] == f"query.{next(iter(params))}"
    problem(await get(path, headers={"Accept": "image/png"}), 406, "not_acceptable")
    for rows in ([20], [-1]):
        problem(await post(path, json={"rows": rows}), 422, "row_range")
    problem(await post(path, json={"rows": [0], "columns": [20]}), 422, "row_range")
    for body in ({}, {"rows": 3}, {"rows": ["a"]}, {"rows": [1.5]}, {"rows": [True]}):
        problem(await post(path, json=body), 422, "invalid_spec")
    huge = await post(path, json={"rows": [0] * 30})
    assert problem(huge, 413, "quota")["context"]["limit_bytes"] == 2000


async def test_too_many_numbers_for_json(service, monkeypatch):
    monkeypatch.setattr("gramserve.service.formats.MAX_JSON_ENTRIES", 30)
    job = await service.compute(small_images(20))
    answer = await service.http.get(
        f"/v1/grams/{job['gram']}/rows",
        params={"start": 0, "stop": 2},
        headers={"Accept": "application/json"},
    )
    assert "octet-stream" in problem(answer, 413, "quota")["detail"]


async def test_items_that_cannot_be_evaluated(service):
    x = small_images(20)
    job = await service.compute(x)

    async def evaluate(content, kind=NPY):
        return await service.http.post(
            f"/v1/grams/{job['gram']}/rows:evaluate",
            content=content,
            headers={"Content-Type": kind},
        )

    problem(await evaluate(npy(x[:2, :5])), 422, "shape")
    assert "x[..., None]" in problem(await evaluate(npy(x[:2, ..., 0])), 422, "shape")["detail"]
    problem(await evaluate(npy(np.full((1, 10, 10, 1), np.nan))), 422, "invalid_data")
    problem(await evaluate(npy(x[:0])), 422, "invalid_data")
    problem(await evaluate(npy(x[:2])[:-1]), 422, "invalid_data")
    problem(await evaluate(npy(x[:2]), "text/plain"), 415, "unsupported_media_type")
    problem(await evaluate(npy(x.repeat(2, axis=0))), 413, "quota")
    assert list(service.state.layout.uploads.iterdir()) == []


async def test_objects_that_cannot_exist_and_ranges_outside(service):
    job = await service.compute(small_images(20))
    root = f"/v1/grams/{job['gram']}/zarr"
    for key in (
        "c/3/0",
        "c/0/3",
        "c/00/0",
        "c",
        "c/0",
        ".zarray",
        "zarr.json/x",
        "..%2Fx",
        "c/-1/0",
    ):
        problem(await service.http.get(f"{root}/{key}"), 404, "not_found")
        assert (await service.http.head(f"{root}/{key}")).status_code == 404
    size = len((await service.http.get(f"{root}/zarr.json")).content)
    for asked in (f"bytes={size}-", "bytes=-0"):
        answer = await service.http.get(f"{root}/zarr.json", headers={"Range": asked})
        problem(answer, 416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{size}"


async def test_missing_blocks_are_refused_everywhere(service):
    job = await service.compute(small_images(20))
    gram = await service.state.grams.get(job["gram"])
    await service.rows(job["gram"], start=0, stop=1)
    gram.store.drop_block(0, 2)
    service.state.grams.forget(job["gram"])
    root = f"/v1/grams/{job['gram']}"
    for path in (
        "rows?start=0&stop=1",
        "rows?start=16&stop=17",
        "rows",
        "zarr/c/0/2",
        "zarr/c/2/0",
    ):
        answer = await service.http.get(f"{root}/{path}")
        assert problem(answer, 409, "block_missing")["context"]["blocks"] == [[0, 2]]
        assert int(answer.headers["retry-after"]) > 0
    selected = await service.http.post(f"{root}/rows", json={"rows": [0], "columns": [19]})
    problem(selected, 409, "block_missing")
    assert (await service.http.head(f"{root}/zarr/c/0/2")).status_code == 409
    assert (await service.rows(job["gram"], start=8, stop=16)).shape == (8, 20)
    report = (await service.http.get(root)).json()
    assert not report["complete"]
    assert report["blocks"]["done"] == 5
    again = await service.submit(job["dataset"])
    finished = await service.until(again, "succeeded")
    assert finished["blocks"] == {"total": 6, "done": 6, "reused": 5, "failed": 0}
    assert (await service.rows(job["gram"], start=0, stop=1)).shape == (1, 20)


async def test_a_surprise_shows_no_trace(service, monkeypatch):
    def surprise(*_):
        raise ZeroDivisionError("secret of the server")

    monkeypatch.setattr("gramserve.service.routes.jobs.job_report", surprise)
    digest = await service.upload(small_images(3))
    with structlog.testing.capture_logs() as lines:
        answer = await service.http.post("/v1/jobs", json={"dataset": digest, "kernel": KERNEL})
    refused = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in refused["detail"]
    assert "request failed" in [line["event"] for line in lines if line["log_level"] == "error"]


async def test_states_that_do_not_exist_and_pages(service):
    refused = await service.http.get("/v1/jobs", params={"state": "runing"})
    assert "running" in problem(refused, 422, "invalid_spec")["detail"]
    for params in ({"limit": 0}, {"limit": 10**6}, {"offset": -1}):
        problem(await service.http.get("/v1/jobs", params=params), 422, "invalid_spec")


async def test_finished_jobs_cannot_be_moved(service):
    job = await service.compute(small_images(4))
    for method, path in (("DELETE", ""), ("POST", ":pause"), ("POST", ":resume")):
        answer = await service.http.request(method, f"/v1/jobs/{job['id']}{path}")
        problem(answer, 409, "illegal_transition")


async def test_a_server_that_stops_is_not_ready(service):
    service.state.closing.set()
    problem(await service.http.get("/readyz"), 503, "unavailable")
    assert (await service.http.get("/livez")).status_code == 200
