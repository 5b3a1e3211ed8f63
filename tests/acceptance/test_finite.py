"""Finite networks over the whole path: command line, server, client."""

import json

import numpy as np
import pytest
import zarr
from command_line import data_of, gramserve
from live_server import LiveServer

import gramserve as gs
from gramserve.errors import EngineUnavailableError, SpecError

KERNEL = {
    "preset": "cntk",
    "depth": 3,
    "kernel": ["nngp", "ntk"],
    "finite": {"width": 16, "samples": 2, "seed": 4},
}


def test_a_job_on_the_command_line(images, tmp_path):
    path, x = images
    command = (
        "compute", path, "-k", json.dumps(KERNEL), "-o", tmp_path / "g.zarr",
        "--block-size", 8, "--json",
    )  # fmt: skip
    answer = data_of(gramserve(*command))
    assert answer["blocks"] == {"total": 6, "done": 6, "reused": 0, "computed": 6, "failed": 0}
    group = zarr.open_group(tmp_path / "g.zarr", mode="r")
    for name, expected in gs.compute_gram(x, kernel=KERNEL).items():
        matrix = group[name][:]
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(matrix, expected, rtol=1e-4)
        assert group[name].attrs["gramserve"]["description"]["kernel"]["finite"]["seed"] == 4
    assert data_of(gramserve(*command))["blocks"]["reused"] == 6
    other = json.dumps({**KERNEL, "finite": {**KERNEL["finite"], "seed": 5}})
    assert gramserve(*command[:3], other, *command[4:]).exit_code == 8


def test_what_cannot_be_is_refused_on_the_command_line(images, tmp_path):
    path, _ = images
    command = ("compute", path, "-o", tmp_path / "g.zarr", "-k")
    head = gramserve(*command, json.dumps({"preset": "myrtle5", "finite": {}}))
    assert head.exit_code == 3
    assert "relu with project has no finite-width counterpart" in head.stderr
    engine = gramserve(*command, json.dumps(KERNEL), "--engine", "cpu")
    assert engine.exit_code == 3
    assert "computes kernels of infinite width" in engine.stderr.replace("\n", " ")
    assert not (tmp_path / "g.zarr").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("state") / "data") as running:
        yield running


def test_a_job_on_a_server(server):
    x = np.random.default_rng(1).standard_normal((20, 6, 6, 3)).astype(np.float32)
    kernel = {**KERNEL, "kernel": "ntk"}
    with gs.connect(server.url, api_key=server.key) as client:
        data = client.datasets.upload(x[:16])
        plan = client.plan(data, kernel=kernel)
        assert plan.engine == "finite"
        assert plan.operations > 0
        gram = client.submit(data, kernel=kernel, block_size=5).wait(progress=False)
        expected = gs.compute_gram(x, kernel=kernel)
        np.testing.assert_allclose(np.asarray(gram), expected[:16, :16], rtol=1e-4)
        rows = gram.evaluate(x[16:])
        np.testing.assert_allclose(rows, expected[16:, :16], rtol=1e-4)
        with pytest.raises(SpecError, match="no finite-width counterpart") as caught:
            client.submit(data, kernel={"preset": "myrtle5_exp", "finite": {}})
        assert caught.value.errors[0]["loc"] == "layers[1]"
        vectors = client.datasets.upload(np.eye(3))
        weighted = {"preset": "fc", "finite": {}, "input": {"channels": "all"}}
        with pytest.raises(EngineUnavailableError, match="weights on the input's channels"):
            client.submit(vectors, kernel=weighted)
