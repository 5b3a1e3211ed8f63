import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from live_server import child_environment
from typer.testing import CliRunner

import gramserve as gs
from gramserve.cli import app
from gramserve.store import files

KERNEL = "myrtle5"
BLOCK = 4
TOTAL = 55


@pytest.fixture
def command(tmp_path):
    x = np.random.default_rng(0).standard_normal((40, 16, 16, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = [sys.executable, "-m", "gramserve", "compute", "x.npy", "--kernel", KERNEL]
    # Slow enough to be killed in the middle.
    words += ["--engine", "reference", "--block-size", str(BLOCK)]
    return tmp_path, x, [*words, "--out", "g.zarr", "--json"]


def start(command, *words):
    folder, _, base = command
    return subprocess.Popen(
        [*base, *words],
        cwd=folder,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stored_objects(folder):
    """Return the objects of whole blocks, mirrors included."""
    blocks = folder / "g.zarr" / "c"
    return [path for path in blocks.glob("*/*") if path.name.isdigit()]


def wait_for_objects(process, folder, count):
    while len(stored_objects(folder)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def finish_and_check(command, *words):
    """Run it to the end and return its counts, after comparing with compute_gram."""
    folder, x, _ = command
    process = start(command, *words)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    expected = gs.compute_gram(x, kernel=KERNEL)
    found = zarr.open_array(folder / "g.zarr", mode="r")[:]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)
    assert not (folder / "g.zarr.work").exists()
    assert not list(folder.rglob("*.partial"))
    return json.loads(output)["blocks"]


@pytest.mark.parametrize("workers", [0, 2])
def test_after_sigkill_only_missing_blocks_are_computed(command, workers):
    folder = command[0]
    killed = 0
    for objects in (5, 40):
        process = start(command, "--workers", str(workers))
        wait_for_objects(process, folder, objects)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += 1
    before = {path: path.stat().st_mtime_ns for path in stored_objects(folder)}
    assert len(before) < 100
    counts = finish_and_check(command, "--workers", str(workers))
    assert killed == 2
    assert counts["computed"] + counts["reused"] == counts["total"] == TOTAL
    # A block off the diagonal is two objects; of at most a few was only one of them stored.
    assert counts["reused"] >= len(before) // 2 - 2 * max(workers, 1)
    untouched = [path for path, time_ns in before.items() if path.stat().st_mtime_ns == time_ns]
    assert len(untouched) >= len(before) - 2 * max(workers, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_after_ctrl_c_the_message_says_how_to_go_on(command, workers):
    folder = command[0]
    process = start(command, "--workers", str(workers))
    wait_for_objects(process, folder, 3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130
    assert output == ""
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert finish_and_check(command, "--workers", "0")["reused"] >= 1


def test_a_changed_input_is_not_mixed_into_what_is_there(command):
    folder, x, _ = command
    process = start(command, "--workers", "0")
    wait_for_objects(process, folder, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {path: path.read_bytes() for path in stored_objects(folder)}
    np.save(folder / "x.npy", x + 1)
    process = start(command, "--workers", "0")
    output, _ = process.communicate()
    assert process.returncode == 8
    assert json.loads(output)["code"] == "store_mismatch"
    assert {path: path.read_bytes() for path in stored_objects(folder)} == kept
    np.save(folder / "x.npy", x)
    assert finish_and_check(command, "--workers", "0")["reused"] >= 1


def test_a_full_disk_ends_the_command_and_loses_nothing(command, monkeypatch):
    folder, _, words = command
    monkeypatch.chdir(folder)
    line = [*words[3:], "--workers", "0"]
    write, writes = files.write_all, []

    def until_full(descriptor, parts):
        # The items and variances come first; the disk is full some blocks later.
        writes.append(descriptor)
        if len(writes) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, parts)

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_all", until_full)
        result = CliRunner().invoke(app, line)
    assert result.exit_code == 8
    assert json.loads(result.stdout)["code"] == "storage_full"
    assert "no space left" in result.stderr
    assert "run the same command again" in result.stderr
    assert len(stored_objects(folder)) > 3
    assert not list(folder.rglob("*.partial"))
    assert finish_and_check(command, "--workers", "0")["reused"] > 1
