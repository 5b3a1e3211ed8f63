"""The whole way of a Gram matrix through HTTP, with real images and real numbers."""

import io
import json

import numpy as np
import pytest
from service_app import (
    KERNEL,
    KEY,
    NPY,
    array_of,
    npy,
    running_service,
    small_images,
)

import gramserve as gs
from gramserve.spec import infer_shapes, parse_kernel


@pytest.fixture
async def service(tmp_path):
    async with running_service(tmp_path) as running:
        yield running


def events_of(answer):
    """Return (kind, number, body) of every event of a stream."""
    events = []
    for text in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.splitlines() if line[0] != ":")
        if fields:
            events.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return events


async def test_upload_plan_job_events_rows(service):
    x = small_images(20)
    uploaded = await service.http.post(
        "/v1/datasets?name=digits", content=npy(x), headers={"Content-Type": NPY}
    )
    assert uploaded.status_code == 201
    data = uploaded.json()
    assert data["shape"] == [20, 10, 10, 1]
    assert (data["dtype"], data["items"], data["bytes"]) == ("uint8", 20, 2000)
    assert data["name"] == "digits"
    assert uploaded.headers["location"] == f"/v1/datasets/{data['digest']}"

    asked = {"dataset": data["digest"], "kernel": KERNEL, "block_size": 8}
    plan = (await service.http.post("/v1/plans", json=asked)).json()
    assert plan["blocks"] == {"total": 6, "cached": 0, "adoptable": 0, "to_compute": 6}
    assert plan["shape"] == [20, 20]
    assert plan["bytes"]["result"] == 1600
    shapes = infer_shapes(parse_kernel(KERNEL), (10, 10, 1))
    assert plan["layers"] == [
        {"type": shape.type, "shape": list(shape.positions)} for shape in shapes
    ]

    submitted = await service.http.post("/v1/jobs", json=asked)
    assert submitted.status_code == 202
    job = submitted.json()
    assert submitted.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["gram"] == plan["gram"]
    assert job["waiting_reason"]

    stream = await service.http.get(f"/v1/jobs/{job['id']}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = events_of(stream)
    numbers = [number for _, number, _ in events]
    assert numbers == sorted(set(numbers))
    states = [body["state"] for kind, _, body in events if kind == "state"]
    assert list(dict.fromkeys(states)) == ["queued", "planning", "running", "succeeded"]
    done = [body["blocks"]["done"] for kind, _, body in events if kind == "progress"]
    assert done == sorted(done)
    assert done[-1] == 6

    finished = await service.job(job)
    assert events[-1][2] == finished
    assert finished["progress"] == 1.0
    assert finished["blocks"] == {"total": 6, "done": 6, "reused": 0, "failed": 0}
    assert finished["waiting_reason"] is None
    assert finished["finished"] >= finished["started"] >= finished["created"]

    truth = gs.compute_gram(x, kernel=KERNEL)
    np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=1e-6)
    report = (await service.http.get(f"/v1/grams/{job['gram']}")).json()
    assert report["complete"]
    assert report["jobs"] == [job["id"]]
    assert report["kernel"] == parse_kernel(KERNEL).canonical()
    assert report["blocks"]["done"] == 6
    grams = (await service.http.get("/v1/grams")).json()["grams"]
    assert [gram["id"] for gram in grams] == [job["gram"]]


async def test_events_are_replayed_after_the_last_one_seen(service):
    job = await service.compute(small_images(9))
    path = f"/v1/jobs/{job['id']}/events"
    events = events_of(await service.http.get(path))
    seen = events[1][1]
    again = await service.http.get(path, headers={"Last-Event-ID": str(seen)})
    assert events_of(again) == events[2:]


async def test_the_same_request_again_is_answered_at_once(service):
    x = small_images(12)
    first = await service.compute(x)
    plan = (
        await service.http.post(
            "/v1/plans", json={"dataset": first["dataset"], "kernel": KERNEL, "block_size": 8}
        )
    ).json()
    assert plan["blocks"] == {"total": 3, "cached": 3, "adoptable": 0, "to_compute": 0}
    again = await service.submit(first["dataset"], status=200)
    assert again["id"] != first["id"]
    assert again["state"] == "succeeded"
    assert again["gram"] == first["gram"]
    assert again["blocks"]["reused"] == 3
    stream = await service.http.get(f"/v1/jobs/{again['id']}/events")
    assert [body["state"] for _, _, body in events_of(stream)] == ["succeeded"]
    listed = (await service.http.get("/v1/jobs", params={"state": "succeeded"})).json()["jobs"]
    assert [job["id"] for job in listed] == [again["id"], first["id"]]
    assert (await service.http.get("/v1/jobs", params={"state": "failed"})).json()["jobs"] == []


async def test_two_kernels_are_computed_in_one_job(service):
    x = small_images(11)
    spec = parse_kernel(KERNEL).canonical() | {"kernel": ["nngp", "ntk"]}
    job = await service.compute(x, kernel=spec, precision="float64")
    assert job["gram"] is None
    truth = gs.compute_gram(x, kernel=spec, precision="float64")
    for name, gram in job["grams"].items():
        np.testing.assert_allclose(await service.rows(gram), truth[name], rtol=1e-12)
    one = await service.submit(job["dataset"], kernel=KERNEL, precision="float64", status=200)
    assert one["gram"] == job["grams"]["ntk"]


async def test_rows_of_one_data_set_and_columns_of_another(service):
    x, y = small_images(10), small_images(13, first=100)
    other = await service.upload(y)
    job = await service.compute(x, other=other, block_size=4)
    assert job["blocks"]["total"] == 12
    truth = gs.compute_gram(x, y, kernel=KERNEL)
    np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=1e-6)
    diagonal = array_of(await service.http.get(f"/v1/grams/{job['gram']}/diagonal"))
    np.testing.assert_array_equal(diagonal, np.diagonal(await service.rows(job["gram"])))


async def test_one_item(service):
    x = small_images(1)
    job = await service.compute(x, block_size=None)
    assert job["blocks"]["total"] == 1
    truth = gs.compute_gram(x, kernel=KERNEL)
    np.testing.assert_allclose(await service.rows(job["gram"], start=0, stop=1), truth, rtol=1e-6)


async def test_rows_in_every_format(service):
    job = await service.compute(small_images(20))
    whole = await service.rows(job["gram"])
    path = f"/v1/grams/{job['gram']}/rows"

    part = await service.http.get(path, params={"start": 3, "stop": 5})
    assert part.headers["content-type"] == "application/octet-stream"
    assert part.headers["x-gram-shape"] == "2,20"
    assert part.headers["x-gram-dtype"] == "<f4"
    np.testing.assert_array_equal(array_of(part), whole[3:5])

    file = await service.http.get(path, params={"start": 3, "stop": 5}, headers={"Accept": NPY})
    assert file.headers["content-type"] == NPY
    np.testing.assert_array_equal(np.load(io.BytesIO(file.content)), whole[3:5])

    text = await service.http.get(
        path, params={"stop": 2}, headers={"Accept": "application/json, */*;q=0.1"}
    )
    assert text.json()["shape"] == [2, 20]
    np.testing.assert_array_equal(np.array(text.json()["values"], np.float32), whole[:2])

    listed = await service.http.post(path, json={"rows": [7, 3, 7], "columns": [19, 0]})
    np.testing.assert_array_equal(array_of(listed), whole[[7, 3, 7]][:, [19, 0]])
    all_columns = await service.http.post(path, json={"rows": [19]})
    np.testing.assert_array_equal(array_of(all_columns), whole[[19]])
    nothing = await service.http.get(path, params={"start": 4, "stop": 4})
    assert array_of(nothing).shape == (0, 20)

    diagonal = await service.http.get(
        f"/v1/grams/{job['gram']}/diagonal", headers={"Accept": "application/json"}
    )
    np.testing.assert_array_equal(diagonal.json()["values"], np.diagonal(whole))


async def test_large_answers_are_streamed_with_their_length(service, monkeypatch):
    job = await service.compute(small_images(20))
    whole = await service.rows(job["gram"])
    monkeypatch.setattr("gramserve.service.routes.rows.WHOLE_BYTES", 0)
    monkeypatch.setattr("gramserve.service.routes.rows.DIRECT_BYTES", 0)
    path = f"/v1/grams/{job['gram']}/rows"
    for kind in ("application/octet-stream", NPY):
        answer = await service.http.get(path, headers={"Accept": kind})
        assert int(answer.headers["content-length"]) == len(answer.content)
        found = array_of(answer) if kind != NPY else np.load(io.BytesIO(answer.content))
        np.testing.assert_array_equal(found, whole)


async def test_complete_rows_are_not_sent_twice(service):
    job = await service.compute(small_images(8))
    path = f"/v1/grams/{job['gram']}/rows"
    first = await service.http.get(path, params={"start": 0, "stop": 1})
    again = await service.http.get(
        path, params={"start": 0, "stop": 1}, headers={"If-None-Match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    other = await service.http.get(path, headers={"If-None-Match": 'W/"something else"'})
    assert other.status_code == 200


async def test_new_items_are_evaluated_and_stored_nowhere(service, monkeypatch):
    x, new = small_images(12), small_images(5, first=50)
    job = await service.compute(x)
    path = f"/v1/grams/{job['gram']}/rows:evaluate"
    truth = gs.compute_gram(new, x, kernel=KERNEL)
    send = {"content": npy(new), "headers": {"Content-Type": NPY}}
    rows = array_of(await service.http.post(path, **send))
    np.testing.assert_allclose(rows, truth, rtol=1e-6)
    monkeypatch.setattr("gramserve.service.routes.evaluate.WHOLE_BYTES", 0)
    monkeypatch.setattr("gramserve.service.routes.evaluate.choose_block_size", lambda *_: 2)
    streamed = array_of(await service.http.post(path, **send))
    np.testing.assert_allclose(streamed, truth, rtol=1e-6)
    # The items themselves are known exactly, so their rows are those of the matrix.
    same = await service.http.post(path, content=npy(x[:2]), headers={"Content-Type": NPY})
    np.testing.assert_allclose(array_of(same), (await service.rows(job["gram"]))[:2], rtol=1e-6)
    assert list(service.state.layout.uploads.iterdir()) == []
    assert len((await service.http.get("/v1/datasets")).json()["datasets"]) == 1


async def test_stored_objects_byte_for_byte(service):
    job = await service.compute(small_images(20))
    folder = service.state.layout.gram(job["gram"])
    root = f"/v1/grams/{job['gram']}/zarr"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 10
    for file in files:
        key, content = file.relative_to(folder).as_posix(), file.read_bytes()
        answer = await service.http.get(f"{root}/{key}")
        assert answer.content == content
        size = len(content)
        head = await service.http.head(f"{root}/{key}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(size)
        for asked, part in (
            ("bytes=2-9", slice(2, 10)),
            ("bytes=5-", slice(5, None)),
            ("bytes=-7", slice(-7, None)),
            (f"bytes=0-{10 * size}", slice(None)),
            (f"bytes=-{10 * size}", slice(None)),
        ):
            ranged = await service.http.get(f"{root}/{key}", headers={"Range": asked})
            assert ranged.status_code == 206
            assert ranged.content == content[part]
            start, stop, _ = part.indices(size)
            assert ranged.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        several = await service.http.get(f"{root}/{key}", headers={"Range": "bytes=0-1,3-4"})
        assert (several.status_code, several.content) == (200, content)


async def test_the_same_items_are_one_data_set(service):
    x = small_images(6)
    first = await service.http.post("/v1/datasets", content=npy(x), headers={"Content-Type": NPY})
    swapped = npy(np.asfortranarray(x.astype(">i4")))
    plain = npy(x.astype("<i4"))
    again = await service.http.post("/v1/datasets", content=npy(x), headers={"Content-Type": NPY})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    digests = [
        (
            await service.http.post("/v1/datasets", content=body, headers={"Content-Type": NPY})
        ).json()["digest"]
        for body in (swapped, plain)
    ]
    assert digests[0] == digests[1] != first.json()["digest"]
    assert (await service.http.get(f"/v1/datasets/{digests[0]}")).json()["dtype"] == "int32"
    gone = await service.http.delete(f"/v1/datasets/{digests[0]}")
    assert (gone.status_code, gone.content) == (204, b"")
    listed = (await service.http.get("/v1/datasets")).json()["datasets"]
    assert [data["digest"] for data in listed] == [first.json()["digest"]]


async def test_a_repeated_request_makes_one_job(service):
    digest = await service.upload(small_images(4))
    body = {"dataset": digest, "kernel": KERNEL}
    headers = {"Idempotency-Key": "once"}
    first = await service.http.post("/v1/jobs", json=body, headers=headers)
    again = await service.http.post("/v1/jobs", json=body, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    other = await service.http.post("/v1/jobs", json=body | {"priority": 1}, headers=headers)
    assert other.status_code == 409


async def test_kernels_are_described(service):
    body = {"kernel": KERNEL, "item_shape": [10, 10, 1]}
    answer = (await service.http.post("/v1/kernels:describe", json=body)).json()
    spec = parse_kernel(KERNEL)
    assert answer["kernel"] == spec.canonical()
    assert answer["digest"] == spec.digest()
    assert answer["kernels"] == ["ntk"]
    assert answer["layers"][-1]["shape"] == []
    assert answer["engine"]
    bare = (await service.http.post("/v1/kernels:describe", json={"kernel": "fc"})).json()
    assert bare["layers"] is None


async def test_health_and_engines(service):
    strange = {"Authorization": "none"}
    live = await service.http.get("/livez", headers=strange)
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    ready = await service.http.get("/readyz", headers=strange)
    assert ready.status_code == 200
    assert ready.json()["kernel_format"] == "gramserve.kernel/1"
    engines = (await service.http.get("/v1/engines")).json()["engines"]
    assert any(engine["available"] for engine in engines)
    version = (await service.http.get("/v1/version")).json()
    assert version["kernel_code_version"] == ready.json()["kernel_code_version"]


async def test_the_interface_describes_itself(service):
    schema = (await service.http.get("/openapi.json")).json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for operation in operations)
    assert "Problem" in schema["components"]["schemas"]
    for path, methods in schema["paths"].items():
        if path.startswith("/v1"):
            for operation in methods.values():
                assert "application/problem+json" in operation["responses"]["401"]["content"]


async def test_stored_items_outlive_the_catalog_and_half_uploads_do_not(tmp_path):
    async with running_service(tmp_path) as service:
        digest = await service.upload(small_images(5))
        await service.state.catalog.forget_dataset(digest)
        (service.state.layout.uploads / "half.npy").write_bytes(b"half")
    async with running_service(tmp_path) as service:
        assert (await service.http.get(f"/v1/datasets/{digest}")).json()["items"] == 5
        assert list(service.state.layout.uploads.iterdir()) == []


async def test_a_second_user_reads_but_does_not_manage(service):
    made = await service.http.post("/v1/keys", json={"name": "ada", "scopes": ["submit"]})
    assert made.status_code == 201
    secret = made.json()["secret"]
    ada = {"Authorization": f"Bearer {secret}"}
    job = await service.compute(small_images(4))
    listed = await service.http.get("/v1/jobs", headers=ada)
    assert [entry["id"] for entry in listed.json()["jobs"]] == [job["id"]]
    same = {"dataset": job["dataset"], "kernel": KERNEL, "block_size": 8}
    once = {"Idempotency-Key": "same word"}
    mine = await service.http.post("/v1/jobs", json=same, headers=once)
    hers = await service.http.post("/v1/jobs", json=same, headers=once | ada)
    assert mine.json()["id"] != hers.json()["id"]
    assert (await service.http.get("/v1/keys", headers=ada)).status_code == 403
    keys = (await service.http.get("/v1/keys")).json()["keys"]
    assert {key["name"] for key in keys} == {"ada", "first admin key"}
    assert secret not in json.dumps(keys)
    assert KEY not in json.dumps(keys)
    row = f"/v1/grams/{job['gram']}/rows?start=0&stop=1"
    assert (await service.http.get(row, headers=ada)).status_code == 200
    ended = await service.http.delete(f"/v1/keys/{made.json()['id']}")
    assert ended.json()["revoked"]
    for path in ("/v1/jobs", row):
        assert (await service.http.get(path, headers=ada)).status_code == 401
