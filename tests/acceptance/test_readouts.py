"""Readouts and averages over flips as jobs: command line, server, rows of new images."""

import json

import numpy as np
import pytest
import zarr
from command_line import data_of, gramserve
from live_server import LiveServer

import gramserve as gs

KERNEL = {"preset": "cntk", "depth": 4, "readouts": True, "augment": "flips"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(4).standard_normal((13, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(images):
    return gs.compute_gram(images, kernel=KERNEL, precision="float64")


def test_a_job_on_the_command_line_goes_on_where_one_matrix_lacks_a_block(
    images, expected, tmp_path
):
    np.save(tmp_path / "x.npy", images)
    command = ("compute", tmp_path / "x.npy", "-k", json.dumps(KERNEL), "-o", tmp_path / "g.zarr",
               "--block-size", 5, "--precision", "float64", "--json")  # fmt: skip
    first = gramserve(*command)
    assert first.exit_code == 0, first.stderr
    assert data_of(first)["kernels"] == ["ntk", "depth2.ntk", "depth3.ntk"]
    shard = next(
        path for path in (tmp_path / "g.zarr" / "depth3.ntk" / "c").rglob("*") if path.is_file()
    )
    shard.unlink()
    again = gramserve(*command)
    assert again.exit_code == 0, again.stderr
    assert data_of(again)["blocks"]["computed"] >= 1
    group = zarr.open_group(tmp_path / "g.zarr", mode="r")
    for name, gram in expected.items():
        np.testing.assert_allclose(group[name][:], gram, rtol=1e-12)


def test_a_job_on_a_server_has_a_gram_matrix_for_each(images, expected, tmp_path):
    with (
        LiveServer(tmp_path / "data") as server,
        gs.connect(server.url, api_key=server.key) as client,
    ):
        data = client.datasets.upload(images[:9])
        assert len(client.plan(data, kernel=KERNEL).grams) == 3
        job = client.submit(data, kernel=KERNEL, precision="float64", block_size=4)
        grams = job.wait(progress=False)
        assert sorted(grams) == ["depth2.ntk", "depth3.ntk", "ntk"]
        for name, gram in grams.items():
            np.testing.assert_allclose(np.asarray(gram), expected[name][:9, :9], rtol=1e-12)
            assert gram.kernel == "ntk"
        # Each is the matrix of a job of its own, and is not computed again.
        alone = {**KERNEL, "depth": 3, "readouts": False}
        one = client.submit(data, kernel=alone, precision="float64", block_size=4)
        assert one.report.blocks.reused == one.report.blocks.total == 6
        assert one.wait(progress=False).id == grams["depth3.ntk"].id
        rows = grams["depth2.ntk"].evaluate(images[9:])
        np.testing.assert_allclose(rows, expected["depth2.ntk"][9:, :9], rtol=1e-12)
