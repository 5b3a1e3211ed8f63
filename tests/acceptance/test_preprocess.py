"""Preprocessing as its users meet it: client and command line of a real server."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import KERNEL, data_of, gramserve
from live_server import LiveServer

import gramserve as gs
from gramserve.errors import ConflictError, ShapeError, SpecError, StoreNotFoundError

RECIPE = {
    "steps": [
        {"type": "center"},
        {"type": "normalize"},
        {"type": "zca", "regularization": 0.1, "mode": "relative"},
    ]
}

CENTER = '{"steps": [{"type": "center"}]}'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("state") / "data") as running:
        yield running


@pytest.fixture
def client(server):
    with gs.connect(server.url, api_key=server.key) as connected:
        yield connected


@pytest.fixture
def ask(server):
    environment = {"GRAMSERVE_URL": server.url, "GRAMSERVE_API_KEY": server.key}
    return lambda *words: gramserve(*words, environment=environment)


@pytest.fixture(scope="module")
def photos():
    """Real photographs, thinned out to 8 x 8 pixels of three colours."""
    with np.load(Path(__file__).parents[1] / "data" / "cifar_200.npz") as data:
        return data["images"][:, ::4, ::4]


def test_a_notebook_from_pixels_to_predictions(client, server, photos):
    train, test = photos[:24], photos[100:105]
    data = client.datasets.upload(train)
    white = data.preprocess(RECIPE, name="white")
    assert white == client.datasets.preprocess(train, gs.parse_recipe(RECIPE), fit=data)
    assert (white.dtype, white.shape, white.name) == ("float32", train.shape, "white")
    assert white.preprocessing.source == white.preprocessing.fit == data.digest
    assert f"center > normalize > zca of {data.digest[:12]}" in repr(white)
    assert data.preprocessing is None

    gram = client.submit(white, kernel=KERNEL).wait(progress=False)
    here = gs.fit_recipe(train, RECIPE)
    truth = gs.compute_gram(here.apply(test), here.apply(train), kernel=KERNEL)
    np.testing.assert_allclose(gram.evaluate(test, preprocess=True), truth, rtol=1e-5)
    np.testing.assert_allclose(gram.evaluate(here.apply(test)), truth, rtol=1e-5)
    # The test images as a data set of their own, by the training images' fit.
    other = client.datasets.preprocess(test, RECIPE, fit=data)
    assert other.preprocessing.fit == data.digest
    assert f"fitted on {data.digest[:12]}" in repr(other)
    across = client.submit(other, other=white, kernel=KERNEL).wait(progress=False)
    np.testing.assert_allclose(np.asarray(across), truth, rtol=1e-5)

    with pytest.raises(ConflictError, match="preprocessed"):
        data.delete()
    server.kill()
    server.start()
    found = client.datasets.get(white.digest)
    assert found.info == white.info
    assert data.preprocess(RECIPE).info == white.info
    np.testing.assert_allclose(gram.evaluate(test, preprocess=True), truth, rtol=1e-5)


def test_what_is_wrong_is_said_before_anything_is_sent(client, photos):
    before = len(client.datasets.list())
    with pytest.raises(SpecError, match="did you mean 'center'"):
        client.datasets.preprocess(photos, {"steps": [{"type": "centre"}]})
    with pytest.raises(SpecError, match="did you mean 'shankar2020'"):
        client.datasets.preprocess(photos, "shankar2021")
    with pytest.raises(SpecError, match="'float16' is not known"):
        client.datasets.preprocess(photos, RECIPE, dtype="float16")
    assert len(client.datasets.list()) == before
    with pytest.raises(StoreNotFoundError, match="no data set"):
        client.datasets.preprocess("0" * 64, RECIPE)
    with pytest.raises(ShapeError, match=r"\(8, 8, 3\).*\(4,\)"):
        client.datasets.preprocess(photos[:5], RECIPE, fit=np.eye(4))


def test_from_a_file_into_a_file(photos, tmp_path):
    np.save(tmp_path / "train.npy", np.asfortranarray(photos[:30]))
    np.save(tmp_path / "test.npy", photos[30:40])
    out = tmp_path / "white.npy"
    recipe = json.dumps(RECIPE)
    words = ("preprocess", tmp_path / "test.npy", "-r", recipe, "--out", out)
    said = data_of(gramserve(*words, "--fit", tmp_path / "train.npy", "--json"))
    assert (said["shape"], said["dtype"]) == ([10, 8, 8, 3], "float32")
    assert said["recipe"] == gs.parse_recipe(RECIPE).canonical()
    here = gs.preprocess(photos[30:40], RECIPE, fit=photos[:30])
    np.testing.assert_allclose(np.load(out), here, rtol=1e-5, atol=1e-6)
    assert "10 x 8 x 8 x 3 float64" in gramserve(*words, "--dtype", "float64").stdout
    assert np.load(out).dtype == np.float64
    huge = tmp_path / "huge.npy"
    np.save(huge, [[1e300, 0]])
    refused = gramserve("preprocess", huge, "-r", CENTER, "--out", tmp_path / "no.npy")
    assert refused.exit_code == 3
    assert "too large for float32" in refused.stderr
    lost = gramserve(*words[:-1], tmp_path / "none" / "white.npy")
    assert lost.exit_code == 8
    assert "name another place with --out" in lost.stderr
    assert not list(tmp_path.rglob("*.partial"))


def test_the_command_line(ask, photos, tmp_path):
    np.save(tmp_path / "train.npy", photos[:30])
    np.save(tmp_path / "test.npy", photos[30:40])
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    train = data_of(ask("datasets", "upload", tmp_path / "train.npy", "--json"))["digest"]
    words = ("datasets", "preprocess", tmp_path / "test.npy", "--fit", train, "--name", "white")
    info = data_of(
        ask(*words, "--recipe", tmp_path / "recipe.json", "--dtype", "float64", "--json")
    )
    assert info["preprocessing"]["fit"] == train
    assert (info["dtype"], info["shape"], info["name"]) == ("float64", [10, 8, 8, 3], "white")
    printed = ask(*words, "-r", json.dumps(RECIPE), "--dtype", "float64")
    assert printed.stdout.strip() == info["digest"]
    shown = ask("datasets", "show", info["digest"])
    assert "center > normalize > zca" in shown.stdout
    named = data_of(ask("datasets", "preprocess", train, "--recipe", "shankar2020", "--json"))
    assert named["preprocessing"]["recipe"] == gs.parse_recipe("shankar2020").canonical()
    wrong = ask("datasets", "preprocess", train, "--recipe", "shankar")
    assert wrong.exit_code == 3
    assert "did you mean 'shankar2020'" in wrong.stderr
    missing = ask("datasets", "preprocess", train, "--recipe", tmp_path / "none.json")
    assert missing.exit_code == 3
    assert "the recipe file" in missing.stderr
    assert ask("datasets", "preprocess", "0" * 64, "--recipe", "shankar2020").exit_code == 4
