import threading

import httpx
import numpy as np
import pytest
import zarr
from live_server import LiveServer
from sklearn.svm import SVC

import gramserve as gs
from gramserve.errors import (
    AccessError,
    BlockMissingError,
    ConflictError,
    InvalidDataError,
    JobCancelledError,
    JobNotFoundError,
    RowRangeError,
    ShapeError,
    SpecError,
    StoreNotFoundError,
)

KERNEL = {"preset": "cntk", "depth": 3}
SLOW = {"preset": "myrtle5"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("state") / "data") as running:
        yield running


@pytest.fixture
def client(server):
    with gs.connect(server.url, api_key=server.key) as connected:
        yield connected


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).integers(0, 255, (20, 6, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def gram_and_truth(server, x):
    with gs.connect(server.url, api_key=server.key) as connected:
        gram = connected.submit(x, kernel=KERNEL, block_size=8).wait(progress=False)
        yield gram, gs.compute_gram(x, kernel=KERNEL)


def test_data_sets_are_named_by_their_content(client):
    items = np.arange(24.0).reshape(4, 6)
    first = client.datasets.upload(np.asfortranarray(items.astype(">f8")), name="mine")
    again = client.datasets.upload(items)
    assert first == again
    assert first.shape == (4, 6)
    assert first.dtype == "float64"
    assert first.name == "mine"
    assert len(first) == 4
    assert first in client.datasets.list()
    assert client.datasets.get(first.digest) == first
    assert first.digest in first._repr_html_()
    first.delete()
    with pytest.raises(StoreNotFoundError):
        client.datasets.get(first.digest)


def test_a_file_is_uploaded_like_its_array(client, tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    assert client.datasets.upload(tmp_path / "x.npy") == client.datasets.upload(x)


def test_a_data_set_in_use_cannot_be_deleted(client, gram_and_truth):
    gram, _ = gram_and_truth
    with pytest.raises(ConflictError):
        client.datasets.delete(gram.report.dataset)


def test_the_gram_matrix_is_that_of_compute_gram(gram_and_truth):
    gram, truth = gram_and_truth
    np.testing.assert_allclose(np.asarray(gram), truth, rtol=1e-5)
    assert gram.complete
    assert gram.kernel == "ntk"
    assert gram.shape == truth.shape


def test_every_way_of_reading_agrees(gram_and_truth):
    gram, _ = gram_and_truth
    whole = np.asarray(gram)
    np.testing.assert_array_equal(gram[10:17], whole[10:17])
    np.testing.assert_array_equal(gram[[3, 7, 3, -1]], whole[[3, 7, 3, -1]])
    np.testing.assert_array_equal(gram[5, ::-3], whole[5, ::-3])
    np.testing.assert_array_equal(gram[::-2], whole[::-2])
    np.testing.assert_array_equal(gram[[1, 2], [3, 19]], whole[[1, 2], [3, 19]])
    np.testing.assert_array_equal(gram[whole > whole.mean()], whole[whole > whole.mean()])
    np.testing.assert_array_equal(gram.diagonal(), np.diagonal(whole))
    np.testing.assert_array_equal(np.stack(list(gram)), whole)
    np.testing.assert_array_equal(gram.rows(2, 5, columns=[4, 0]), whole[2:5, [4, 0]])
    assert gram[4, 5] == whole[4, 5]
    with pytest.raises(IndexError):
        gram[20]
    with pytest.raises(RowRangeError):
        gram.rows(0, 21)


def test_the_stored_array_opens_over_http(gram_and_truth):
    gram, _ = gram_and_truth
    array = gram.zarr()
    assert isinstance(array, zarr.Array)
    assert array.shape == gram.shape
    np.testing.assert_array_equal(array[:], np.asarray(gram))
    np.testing.assert_array_equal(array[3:5, 1], gram[3:5, 1])
    with pytest.raises((ValueError, OSError)):
        array[0, 0] = 1.0


def test_rows_of_new_items_are_evaluated(gram_and_truth, x):
    gram, _ = gram_and_truth
    x_new = np.random.default_rng(1).integers(0, 255, (5, 6, 6, 3), dtype=np.uint8)
    expected = gs.compute_gram(x_new, x, kernel=KERNEL)
    np.testing.assert_allclose(gram.evaluate(x_new), expected, rtol=1e-5)
    with pytest.raises(ShapeError):
        gram.evaluate(x_new[:, :5])
    with pytest.raises(InvalidDataError):
        gram.evaluate(np.full((1, 6, 6, 3), np.nan))


def test_derivatives_of_vectors(client):
    generator = np.random.default_rng(4)
    points, new = generator.standard_normal((12, 3)), generator.standard_normal((5, 3))
    gram = client.submit(points, kernel="fc").wait(progress=False)
    for derivative in ("dx", "dxdx2"):
        expected = gs.compute_derivative(new, points, kernel="fc", derivative=derivative)
        found = gram.evaluate(new, derivative=derivative)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
    with pytest.raises(SpecError, match="known are dx"):
        gram.evaluate(new, derivative="dz")
    with pytest.raises(ShapeError, match=r"vectors \(n, D\)"):
        gram.evaluate(new[..., None], derivative="dx")
    with pytest.raises(ShapeError, match="data set"):
        gram.evaluate(new[:, :2], derivative="dx")


def test_scikit_learn_takes_the_rows_as_they_are(client):
    generator = np.random.default_rng(2)
    labels = np.arange(40) % 2
    points = generator.standard_normal((40, 5)) + 3 * labels[:, None]
    gram = client.submit(points[:30], kernel="fc", precision="float64").wait(progress=False)
    machine = SVC(kernel="precomputed").fit(np.asarray(gram), labels[:30])
    assert (machine.predict(gram.evaluate(points[30:])) == labels[30:]).mean() > 0.8


def test_two_kernels_and_other_columns(client, x):
    spec = gs.parse_kernel(KERNEL).canonical() | {"kernel": ["nngp", "ntk"]}
    grams = client.submit(x[:7], other=x[7:], kernel=spec, block_size=4).wait(progress=False)
    truth = gs.compute_gram(x[:7], x[7:], kernel=spec)
    assert sorted(grams) == ["nngp", "ntk"]
    for name, gram in grams.items():
        assert gram.kernel == name
        np.testing.assert_allclose(np.asarray(gram), truth[name], rtol=1e-5)


def test_the_plan_counts_what_is_cached(client, x, gram_and_truth):
    gram, _ = gram_and_truth
    plan = client.plan(x, kernel=KERNEL, block_size=8)
    assert plan.blocks.total == plan.blocks.cached == 6
    assert plan.gram == gram.id
    assert "6 cached" in repr(plan)
    assert "6 cached" in plan._repr_html_()
    # Cut elsewhere, it is another matrix of the same numbers.
    finer = client.plan(x, kernel=KERNEL, block_size=5)
    assert (finer.blocks.adoptable, finer.blocks.to_compute) == (10, 0)
    assert "10 in other matrices" in repr(finer)
    assert client.plan(x[::-1, ::-1], kernel=KERNEL, block_size=5).blocks.to_compute == 10


def test_the_same_request_again_is_done_at_once(client, x, gram_and_truth):
    gram, _ = gram_and_truth
    job = client.submit(gram.report.dataset, kernel=KERNEL, block_size=8)
    assert job.state == "succeeded"
    assert job.report.blocks.reused == 6
    assert job.id in [listed.id for listed in client.jobs()]
    assert client.job(job.id).state == "succeeded"
    assert gram.id in [listed.id for listed in client.grams()]
    assert client.gram(gram.id).shape == gram.shape


def test_missing_blocks_raise_everywhere_and_are_never_numbers(client):
    images = np.random.default_rng(3).standard_normal((64, 16, 16, 3))
    job = client.submit(images, kernel=SLOW, block_size=4)
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(progress=False)
    gram = client.gram(job.report.gram)
    assert not gram.complete
    for read in (lambda: gram[:], lambda: np.asarray(gram), lambda: gram.zarr()[:]):
        with pytest.raises(BlockMissingError):
            read()


def test_what_is_not_there_is_named(client):
    with pytest.raises(JobNotFoundError):
        client.job("nothing")
    with pytest.raises(StoreNotFoundError):
        client.gram("0" * 32)
    with pytest.raises(StoreNotFoundError):
        client.datasets.get("0" * 64)
    with pytest.raises(StoreNotFoundError):
        client.submit("0" * 64, kernel="fc")


def test_a_wrong_key_is_refused(server):
    for key in ("wrong", None):
        with gs.connect(server.url, api_key=key) as stranger, pytest.raises(AccessError) as caught:
            stranger.jobs()
        assert caught.value.context["status"] == 401


def test_waiting_survives_a_killed_and_restarted_server(tmp_path, lost_connections):
    images = np.random.default_rng(4).standard_normal((36, 10, 10, 3)).astype(np.float32)
    with LiveServer(tmp_path / "data") as server:
        client = gs.connect(server.url, api_key=server.key)
        job = client.submit(images, kernel=SLOW, block_size=4)
        found = []
        waiter = threading.Thread(target=lambda: found.append(job.wait(progress=False)))
        waiter.start()
        while job.report.blocks.done == 0 and not job.report.is_finished:
            waiter.join(0.05)
        server.kill()
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url, trust_env=False)
        server.start()
        waiter.join(200)
        assert not waiter.is_alive()
        truth = gs.compute_gram(images, kernel=SLOW)
        np.testing.assert_allclose(np.asarray(found[0]), truth, rtol=1e-5, atol=1e-6)
        assert job.report.blocks.done == 45
        client.close()
