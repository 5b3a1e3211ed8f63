"""Preprocessed data sets through HTTP, with real images and real numbers."""

import asyncio
import shutil
import threading

import numpy as np
import pytest
from service_app import KERNEL, NPY, array_of, npy, problem, running_service, small_images

import gramserve as gs
from gramserve.service import preprocessor
from gramserve.spec import derived_address, parse_recipe

PATH = "/v1/datasets:preprocess"
RECIPE = {
    "steps": [
        {"type": "center"},
        {"type": "normalize"},
        {"type": "zca", "regularization": 0.1, "mode": "relative"},
    ]
}


@pytest.fixture
async def service(tmp_path):
    async with running_service(tmp_path) as running:
        yield running


async def derive(service, dataset, status=201, **asked):
    answer = await service.http.post(PATH, json={"dataset": dataset, "recipe": RECIPE, **asked})
    assert answer.status_code == status, answer.text
    assert answer.headers["location"] == f"/v1/datasets/{answer.json()['digest']}"
    return answer.json()


async def evaluate(service, gram, values, **params):
    return await service.http.post(
        f"/v1/grams/{gram}/rows:evaluate",
        content=npy(values),
        headers={"Content-Type": NPY},
        params=params,
    )


async def test_it_is_named_by_what_it_was_made_of_and_computed_once(service):
    source = await service.upload(small_images(30))
    made = await derive(service, source, name="white")
    assert made["digest"] == derived_address(parse_recipe(RECIPE), source, source, "float32")
    assert made["preprocessing"] == {
        "source": source,
        "fit": source,
        "recipe": parse_recipe(RECIPE).canonical(),
        "dtype": "float32",
    }
    assert (made["shape"], made["dtype"], made["name"]) == ([30, 10, 10, 1], "float32", "white")
    stored = service.state.datasets.read(made["digest"])
    wanted = gs.preprocess(small_images(30), RECIPE)
    np.testing.assert_allclose(stored, wanted, rtol=1e-5, atol=1e-6)
    # Written out, asked for again, and with nothing left to compute it from.
    shutil.rmtree(service.state.layout.transforms)
    written = parse_recipe(RECIPE).canonical()
    again = await derive(service, source, status=200, recipe=written, fit=source)
    assert again == made
    assert not service.state.layout.transforms.exists()
    described = (await service.http.get(f"/v1/datasets/{made['digest']}")).json()
    assert described == made
    listed = (await service.http.get("/v1/datasets")).json()["datasets"]
    assert [one["preprocessing"] is None for one in listed] == [False, True]


async def test_test_images_are_preprocessed_by_the_training_images(service):
    x, y = small_images(40), small_images(15, first=100)
    train, test = await service.upload(x), await service.upload(y)
    made = await derive(service, test, fit=train, dtype="float64")
    stored = service.state.datasets.read(made["digest"])
    np.testing.assert_allclose(stored, gs.preprocess(y, RECIPE, fit=x, dtype="float64"), rtol=1e-7)
    assert made["preprocessing"]["fit"] == train
    own = await derive(service, test, dtype="float64")
    assert own["digest"] != made["digest"]


async def test_recipes_that_are_not_fitted_have_one_name_whatever_they_are_fitted_on(service):
    source, other = await service.upload(small_images(9)), await service.upload(small_images(5, 50))
    recipe = {"steps": [{"type": "scale", "factor": 1 / 255}]}
    made = await derive(service, source, recipe=recipe, fit=other)
    assert made["preprocessing"]["fit"] is None
    assert (await derive(service, source, status=200, recipe=recipe)) == made
    np.testing.assert_array_equal(
        service.state.datasets.read(made["digest"]), (small_images(9) / 255).astype("float32")
    )


async def test_new_images_get_the_preprocessing_of_the_data_set_when_asked_for(service):
    x, y = small_images(20), small_images(6, first=100)
    made = await derive(service, await service.upload(x))
    job = await service.until(await service.submit(made["digest"]), "succeeded", "failed")
    white = gs.preprocess(x, RECIPE)
    truth = gs.compute_gram(gs.preprocess(y, RECIPE, fit=x), white, kernel=KERNEL)
    rows = array_of(await evaluate(service, job["gram"], y, preprocess=True))
    np.testing.assert_allclose(rows, truth, rtol=1e-5)
    raw = array_of(await evaluate(service, job["gram"], y))
    np.testing.assert_allclose(raw, gs.compute_gram(y, white, kernel=KERNEL), rtol=1e-5)
    known = array_of(await evaluate(service, job["gram"], x[:3], preprocess=True))
    np.testing.assert_allclose(known, (await service.rows(job["gram"]))[:3], rtol=1e-5)
    # What was fitted is fitted again when it is lost.
    shutil.rmtree(service.state.layout.transforms)
    again = array_of(await evaluate(service, job["gram"], y, preprocess=True))
    np.testing.assert_allclose(again, truth, rtol=1e-5)


async def test_one_after_the_other(service):
    """A data set made from one that was made from another: new images go the whole way."""
    x, y = small_images(20), small_images(4, first=100)
    scale, white = {"steps": [{"type": "scale", "factor": 1 / 255}]}, {"steps": [{"type": "zca"}]}
    first = await derive(service, await service.upload(x), recipe=scale)
    second = await derive(service, first["digest"], recipe=white, dtype="float64")
    job = await service.until(await service.submit(second["digest"]), "succeeded", "failed")
    a, b = (gs.preprocess(items, scale) for items in (x, y))
    truth = gs.compute_gram(
        gs.preprocess(b, white, fit=a, dtype="float64"),
        gs.preprocess(a, white, dtype="float64"),
        kernel=KERNEL,
    )
    rows = array_of(await evaluate(service, job["gram"], y, preprocess=True))
    np.testing.assert_allclose(rows, truth, rtol=1e-5)


async def test_what_was_uploaded_ready_made_cannot_be_asked_to_preprocess(service):
    job = await service.compute(small_images(9))
    answer = await evaluate(service, job["gram"], small_images(2), preprocess=True)
    body = problem(answer, 422, "invalid_spec")
    assert "was not preprocessed here" in body["detail"]


async def test_what_others_are_made_of_stays_until_they_are_gone(service):
    train, test = await service.upload(small_images(20)), await service.upload(small_images(5, 50))
    made = await derive(service, test, fit=train)
    for digest in (train, test):
        body = problem(await service.http.delete(f"/v1/datasets/{digest}"), 409, "conflict")
        assert "1 data sets preprocessed from it or by it" in body["detail"]
    assert len(list(service.state.layout.transforms.iterdir())) == 1
    for digest in (made["digest"], train, test):
        assert (await service.http.delete(f"/v1/datasets/{digest}")).status_code == 204
    assert list(service.state.layout.transforms.iterdir()) == []
    assert list(service.state.layout.datasets.iterdir()) == []
    problem(
        await service.http.post(PATH, json={"dataset": test, "recipe": RECIPE}), 404, "not_found"
    )


async def test_a_restart_changes_nothing(tmp_path):
    x = small_images(20)
    async with running_service(tmp_path) as service:
        source = await service.upload(x)
        made = await derive(service, source, name="white")
    for lost in ("none", "catalog"):
        if lost == "catalog":
            for file in (tmp_path / "state").glob("catalog.sqlite*"):
                file.unlink()
        async with running_service(tmp_path) as service:
            again = await derive(service, source, status=200, name="white")
            assert {**again, "created": ""} == {**made, "created": ""}
            problem(await service.http.delete(f"/v1/datasets/{source}"), 409, "conflict")


class Paced:
    """The real fitting, which counts and waits until it may go on."""

    def __init__(self, monkeypatch):
        self.calls = 0
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self._real = preprocessor.fit_recipe
        monkeypatch.setattr(preprocessor, "fit_recipe", self)

    def __call__(self, *arguments):
        self.calls += 1
        self.begun.set()
        assert self.may_go_on.wait(60)
        return self._real(*arguments)


async def test_requests_at_once_and_requests_given_up_share_the_work(service, monkeypatch):
    paced = Paced(monkeypatch)
    source = await service.upload(small_images(20))
    given_up = asyncio.create_task(derive(service, source))
    await asyncio.to_thread(paced.begun.wait, 60)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    others = [asyncio.create_task(derive(service, source, name=name)) for name in "ab"]
    answer = await service.http.get("/livez")  # the event loop is free
    assert answer.status_code == 200
    paced.may_go_on.set()
    first, second = await asyncio.gather(*others)
    assert first["digest"] == second["digest"]
    assert paced.calls == 1
    await derive(service, source, status=200)


async def test_a_source_deleted_meanwhile_leaves_nothing(service, monkeypatch):
    paced = Paced(monkeypatch)
    train, test = await service.upload(small_images(20)), await service.upload(small_images(5, 50))
    task = asyncio.create_task(
        service.http.post(PATH, json={"dataset": test, "fit": train, "recipe": RECIPE})
    )
    await asyncio.to_thread(paced.begun.wait, 60)
    assert (await service.http.delete(f"/v1/datasets/{test}")).status_code == 204
    paced.may_go_on.set()
    problem(await task, 404, "not_found")
    assert [place.name for place in service.state.layout.datasets.iterdir()] == [train]
    listed = (await service.http.get("/v1/datasets")).json()["datasets"]
    assert [one["digest"] for one in listed] == [train]


async def test_a_source_deleted_at_the_last_moment_leaves_nothing(service, monkeypatch):
    """Stored but not recorded yet: a second request must not record what is taken back."""
    written, may_go_on = threading.Event(), threading.Event()
    real = service.state.datasets.add_derived

    def add_and_wait(*arguments, **more):
        real(*arguments, **more)
        written.set()
        assert may_go_on.wait(60)

    monkeypatch.setattr(service.state.datasets, "add_derived", add_and_wait)
    source = await service.upload(small_images(20))
    body = {"dataset": source, "recipe": RECIPE}
    first = asyncio.create_task(service.http.post(PATH, json=body))
    await asyncio.to_thread(written.wait, 60)
    second = asyncio.create_task(service.http.post(PATH, json=body))
    await asyncio.sleep(0.1)  # enough to look at the store; it waits for the first one
    assert not second.done()
    assert (await service.http.delete(f"/v1/datasets/{source}")).status_code == 204
    may_go_on.set()
    for answer in await asyncio.gather(first, second):
        problem(answer, 404, "not_found")
    assert (await service.http.get("/v1/datasets")).json()["datasets"] == []
    assert list(service.state.layout.datasets.iterdir()) == []
    assert list(service.state.layout.transforms.iterdir()) == []


async def test_a_key_that_only_reads_may_not_ask(service):
    source = await service.upload(small_images(5))
    key = (await service.http.post("/v1/keys", json={"name": "r", "scopes": ["read"]})).json()
    headers = {"Authorization": f"Bearer {key['secret']}"}
    body = {"dataset": source, "recipe": RECIPE}
    problem(await service.http.post(PATH, json=body, headers=headers), 403, "access")


@pytest.mark.parametrize(
    ("change", "status", "code", "place", "said"),
    [
        ({"recipe": "shankar"}, 422, "invalid_spec", "recipe.preset", "'shankar2020'"),
        (
            {"recipe": {"steps": [{"type": "centre"}]}},
            422,
            "invalid_spec",
            "recipe.steps[0]",
            "did you mean 'center'",
        ),
        ({"dtype": "float16"}, 422, "invalid_spec", "dtype", "'float64'"),
        ({"fitt": "a" * 64}, 422, "invalid_spec", "fitt", "did you mean 'fit'"),
        ({"dataset": "0" * 64}, 404, "not_found", None, "no data set"),
        ({"fit": "0" * 64}, 404, "not_found", None, "no data set"),
        ({"dataset": 7}, 422, "invalid_spec", "dataset", "string"),
    ],
)
async def test_what_is_wrong_is_said(service, change, status, code, place, said):
    known = {"dataset": await service.upload(small_images(5)), "recipe": RECIPE}
    body = problem(await service.http.post(PATH, json=known | change), status, code)
    assert said in body["detail"]
    assert place is None or place in [fault["loc"] for fault in body["errors"]]


async def test_a_result_larger_than_an_upload_may_be_is_refused(tmp_path):
    async with running_service(tmp_path, max_upload_bytes=3_000) as service:
        source = await service.upload(small_images(7))
        body = {"dataset": source, "recipe": RECIPE, "dtype": "float64"}
        answer = problem(await service.http.post(PATH, json=body), 413, "quota")
        assert "5,600 bytes in float64" in answer["detail"]
        await derive(service, source)


async def test_items_that_do_not_fit_are_refused(service):
    images, vectors = await service.upload(small_images(5)), await service.upload(np.eye(4))
    asked = {"dataset": images, "fit": vectors, "recipe": RECIPE}
    body = problem(await service.http.post(PATH, json=asked), 422, "shape")
    assert "(10, 10, 1)" in body["detail"]
    assert "(4,)" in body["detail"]
    center = {"steps": [{"type": "center", "per": "channel"}]}
    body = problem(
        await service.http.post(PATH, json={"dataset": vectors, "recipe": center}), 422, "shape"
    )
    assert body["errors"][0]["loc"] == "recipe.steps[0].per"
    singular = {"steps": [{"type": "zca", "regularization": 0}]}
    body = problem(
        await service.http.post(PATH, json={"dataset": images, "recipe": singular}),
        422,
        "invalid_data",
    )
    assert "raise the regularization" in body["detail"]
    large = await service.upload(np.zeros((1, 2**20), "uint8"))
    body = problem(
        await service.http.post(PATH, json={"dataset": large, "recipe": "shankar2020"}),
        422,
        "memory_budget",
    )
    assert "make the items smaller" in body["detail"]
