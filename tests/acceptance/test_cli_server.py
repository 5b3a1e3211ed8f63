import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import KERNEL, OVERFLOW, data_of, gramserve
from live_server import LiveServer, child_environment

import gramserve as gs


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("state") / "data") as running:
        yield running


@pytest.fixture
def ask(server):
    environment = {"GRAMSERVE_URL": server.url, "GRAMSERVE_API_KEY": server.key}
    return lambda *words: gramserve(*words, environment=environment)


def test_the_whole_path(ask, images, kernel_file, tmp_path):
    path, x = images
    info = data_of(ask("datasets", "upload", path, "--name", "mine", "--json"))
    digest = info["digest"]
    assert info["shape"] == [20, 6, 6, 3]
    assert digest in ask("datasets", "list").stdout
    assert data_of(ask("datasets", "show", digest, "--json"))["name"] == "mine"
    plan = data_of(ask("plan", "--dataset", digest, "-k", kernel_file, "--json"))
    assert plan["blocks"]["to_compute"] == 1
    job = data_of(ask("submit", digest, "-k", kernel_file, "--wait", "--json"))
    assert job["state"] == "succeeded"
    assert job["id"] in ask("status").stdout
    assert data_of(ask("status", job["id"], "--wait", "--json"))["progress"] == 1
    assert [entry["id"] for entry in data_of(ask("grams", "list", "--json"))] == [job["gram"]]
    assert data_of(ask("grams", "show", job["gram"], "--json"))["complete"]
    expected = gs.compute_gram(x, kernel=KERNEL)
    rows = data_of(ask("rows", job["gram"], "--start", 2, "--stop", 4, "--json"))
    np.testing.assert_allclose(rows["rows"], expected[2:4], rtol=1e-5)
    text = ask("rows", job["gram"], "--stop", 3).stdout
    numbers = [[np.float32(word) for word in line.split()] for line in text.splitlines()]
    np.testing.assert_allclose(numbers, expected[:3], rtol=1e-5)
    saved = ask("rows", job["gram"], "--out", tmp_path / "rows.npy")
    assert saved.exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, rtol=1e-5)
    stored = data_of(ask("cache", "ls", "--json"))
    assert {entry["kind"] for entry in stored["entries"]} == {"dataset", "gram"}
    assert ask("datasets", "delete", digest).exit_code == 3


def test_submitting_a_file_uploads_it(ask, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4))
    job = data_of(ask("submit", tmp_path / "v.npy", "-k", "fc", "--wait", "--json"))
    assert job["blocks"]["done"] == job["blocks"]["total"]
    digest = data_of(ask("datasets", "upload", tmp_path / "v.npy", "--json"))["digest"]
    assert digest == job["dataset"]


def test_cancelling(ask, tmp_path):
    images = np.random.default_rng(3).standard_normal((64, 16, 16, 3))
    np.save(tmp_path / "slow.npy", images)
    command = ("submit", tmp_path / "slow.npy", "-k", "myrtle5", "--block-size", 4, "--json")
    job = data_of(ask(*command))
    assert data_of(ask("cancel", job["id"], "--json"))["state"] in ("cancelling", "cancelled")
    result = ask("status", job["id"], "--wait")
    assert result.exit_code == 6
    assert "cancelled" in result.stderr
    assert ask("rows", job["gram"]).exit_code == 6
    unfinished = tmp_path / "unfinished.npy"
    assert ask("rows", job["gram"], "--out", unfinished).exit_code == 6
    assert not list(tmp_path.glob("unfinished*"))


@pytest.mark.parametrize(
    "words",
    [("status", "nothing"), ("rows", "0" * 32), ("datasets", "show", "0" * 64)],
)
def test_what_is_not_there_is_4(ask, words):
    assert ask(*words).exit_code == 4


def test_rows_outside_are_3(ask, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4))
    job = data_of(ask("submit", tmp_path / "v.npy", "-k", "fc", "--wait", "--json"))
    assert ask("rows", job["gram"], "--stop", 5).exit_code == 3


def test_a_wrong_key_is_5(server):
    result = gramserve("status", "--url", server.url, "--api-key", "wrong", "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["code"] == "access"


def test_keys_are_made_and_revoked_beside_a_running_server(server):
    place = ("--data-dir", server.data_dir)
    made = gramserve("keys", "create", "a reader", "--scope", "read", *place, "--json")
    key = data_of(made)
    assert "only now" in made.stderr
    asking = ("--url", server.url, "--api-key", key["secret"])
    assert gramserve("grams", "list", *asking).exit_code == 0
    assert gramserve("cancel", "nothing", *asking).exit_code in (4, 5)
    listed = gramserve("keys", "list", *place)
    assert key["id"] in listed.stdout
    assert key["secret"] not in listed.stdout
    assert data_of(gramserve("keys", "revoke", key["id"], *place, "--json"))["revoked"]
    assert "revoked" in gramserve("keys", "list", *place).stdout


def test_what_lies_in_the_state_directory(server, ask, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4))
    ask("datasets", "upload", tmp_path / "v.npy")
    answer = data_of(gramserve("cache", "ls", "--data-dir", server.data_dir, "--json"))
    assert answer["bytes"] == sum(entry["bytes"] for entry in answer["entries"]) > 0


def test_a_job_whose_blocks_fail_is_6_and_names_them(ask, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4) + 1)
    result = ask("submit", tmp_path / "v.npy", "-k", OVERFLOW, "--wait", "--json")
    assert result.exit_code == 6
    problem = json.loads(result.stdout)
    assert problem["code"] == "non_finite_kernel"
    assert problem["errors"][0]["loc"] == "blocks[0, 0]"


def serve(*words):
    """Run `gramserve serve` to its end, which comes soon when it cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "gramserve", "serve", "--workers", "0", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=child_environment(),
    )


def test_a_port_in_use_is_named(server, tmp_path):
    done = serve("--data-dir", tmp_path / "other", "--port", server.port)
    assert done.returncode == 3
    assert str(server.port) in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_directory_in_use_is_named(server):
    done = serve("--data-dir", server.data_dir, "--port", 0)
    assert done.returncode == 3
    assert str(server.data_dir) in done.stderr


def test_a_file_where_the_state_directory_should_be_is_named(tmp_path):
    (tmp_path / "state").write_text("mine")
    done = serve("--data-dir", tmp_path / "state", "--port", 0)
    assert done.returncode == 8
    assert str(tmp_path / "state") in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "state").read_text() == "mine"


def test_ctrl_c_stops_a_server_quietly(tmp_path):
    with LiveServer(tmp_path / "state", workers=1) as running:
        running.interrupt()
        assert running.wait() == 0
    assert "Traceback" not in running.log
