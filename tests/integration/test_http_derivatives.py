"""Derivatives of kernel rows of new items through HTTP."""

import io

import numpy as np
import pytest
from service_app import NPY, array_of, npy, problem, running_service, small_images

import gramserve as gs
from gramserve.spec import DERIVATIVES

FC = {"preset": "fc", "depth": 1, "b_std": 0.1}
LIMIT = 20_000


@pytest.fixture
async def service(tmp_path):
    async with running_service(tmp_path, max_evaluate_bytes=LIMIT) as running:
        yield running


def vectors(count, first=0):
    """Some pixels of real digits."""
    return small_images(count, first)[:, 3:5, 3:6, 0].reshape(count, 6)


@pytest.fixture
async def gram(service):
    return (await service.compute(vectors(10), kernel=FC, block_size=None))["gram"]


def ask(service, gram, values, derivative, **headers):
    return service.http.post(
        f"/v1/grams/{gram}/rows:evaluate",
        params={"derivative": derivative},
        content=npy(values),
        headers={"Content-Type": NPY, **headers},
    )


@pytest.mark.parametrize("derivative", DERIVATIVES)
async def test_derivatives_of_new_items_in_every_format(service, gram, derivative, monkeypatch):
    x, new = vectors(10), vectors(5, first=40)
    expected = gs.compute_derivative(new, x, kernel=FC, derivative=derivative)
    octets = await ask(service, gram, new, derivative)
    assert octets.headers["x-gram-dtype"] == "<f8"
    found = array_of(octets)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    file = await ask(service, gram, new, derivative, Accept=NPY)
    np.testing.assert_array_equal(np.load(io.BytesIO(file.content)), found)
    body = (await ask(service, gram, new, derivative, Accept="application/json")).json()
    assert (body["shape"], body["dtype"]) == (list(found.shape), "float64")
    np.testing.assert_array_equal(body["values"], found)
    # A large answer goes out row by row.
    monkeypatch.setattr("gramserve.service.derivatives._WHOLE_BYTES", 0)
    monkeypatch.setattr("gramserve.service.derivatives.PIECE_BYTES", 1)
    for kind in ("application/octet-stream", NPY):
        streamed = await ask(service, gram, new, derivative, Accept=kind)
        assert int(streamed.headers["content-length"]) == len(streamed.content)
        values = array_of(streamed) if kind != NPY else np.load(io.BytesIO(streamed.content))
        np.testing.assert_allclose(values, found, rtol=1e-12, atol=1e-13)
    assert list(service.state.layout.uploads.iterdir()) == []


async def test_columns_are_those_of_the_other_data_set(service):
    x, y = vectors(4), vectors(6, first=100)
    job = await service.compute(x, other=await service.upload(y), kernel=FC)
    found = array_of(await ask(service, job["gram"], x[:2], "dx2"))
    expected = gs.compute_derivative(x[:2], y, kernel=FC, derivative="dx2")
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


async def test_what_does_not_exist_is_infinite_and_null_in_json(service):
    x = np.array([[1.0, 2.0], [0.5, -1.0]])
    job = await service.compute(x, kernel={**FC, "kernel": "ntk"})
    found = array_of(await ask(service, job["gram"], x, "dx"))
    assert np.isinf(found[[0, 1], [0, 1]]).all()
    assert np.isfinite(found[[0, 1], [1, 0]]).all()
    answer = await ask(service, job["gram"], x, "dx", Accept="application/json")
    assert answer.json()["values"][1][1] == [None, None]
    assert answer.json()["values"][0][1] == found[0, 1].tolist()


async def test_derivatives_that_are_refused(service, gram):
    new = vectors(3)
    unknown = problem(await ask(service, gram, new, "dy"), 422, "invalid_spec")
    assert "known are dx, dx2, dxdx2, dxdx" in unknown["detail"]
    assert unknown["errors"][0]["loc"] == "derivative"
    problem(await ask(service, gram, new[:, :5], "dx"), 422, "shape")
    problem(await ask(service, gram, new[:0], "dx"), 422, "invalid_data")
    problem(await ask(service, gram, np.full((1, 6), np.nan), "dx"), 422, "invalid_data")
    problem(await ask(service, gram, np.full((1, 6), 1e200), "dx"), 500, "non_finite_kernel")
    # 10 x 6 x 6 float64 are 2880 bytes a row.
    large = problem(await ask(service, gram, vectors(10), "dxdx"), 413, "quota")
    assert "send at most 6 items" in large["detail"]
    assert "28,800 bytes" in large["detail"]
    ok = await ask(service, gram, vectors(6), "dxdx")
    assert array_of(ok).shape == (6, 10, 6, 6)


async def test_one_item_that_is_too_large_for_the_server(service):
    x = np.eye(30)
    job = await service.compute(x, kernel=FC, block_size=None)
    detail = problem(await ask(service, job["gram"], x[:1], "dxdx2"), 413, "quota")["detail"]
    assert "compute_derivative" in detail
    assert "GRAMSERVE_MAX_EVALUATE_BYTES" in detail


async def test_kernels_of_images_have_no_derivatives(service):
    job = await service.compute(small_images(4))
    answer = await ask(service, job["gram"], small_images(2), "dx")
    assert "layers[0] (conv)" in problem(answer, 422, "invalid_spec")["detail"]
