"""The demo end to end, on few images, and what it leaves behind when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from live_server import child_environment

from gramserve.demo import run
from gramserve.demo.images import load_images
from gramserve.demo.server import running_server
from gramserve.errors import ServiceUnreachableError

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks for leftover processes in /proc"
)


def processes_naming(text):
    """Return the ids of processes whose command line or environment holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:  # it has ended, or is not ours
                continue
            if text.encode() in told:
                found.append(int(entry.name))
    return found


def few(images):
    """Return six training images and one test image of each class, the middle 16 x 16 pixels."""
    train, test = np.arange(280) % 70 < 6, np.arange(160) % 40 < 1
    return replace(
        images,
        train=images.train[train, 8:24, 8:24],
        train_labels=images.train_labels[train],
        test=images.test[test, 8:24, 8:24],
        test_labels=images.test_labels[test],
    )


@pytest.fixture
def marked(monkeypatch, tmp_path):
    """Mark all processes that a test starts by a variable in their environment."""
    monkeypatch.setenv("GRAMSERVE_TEST_MARK", str(tmp_path))
    monkeypatch.setenv("GRAMSERVE_WORKERS", "1")
    return str(tmp_path)


def test_the_demo_goes_all_the_way_and_leaves_a_picture_and_no_process(marked, tmp_path, capfd):
    output = tmp_path / "demo"
    run(output, few(load_images()))
    told = capfd.readouterr().err
    for words in ("plan:", "succeeded", "row 0 begins", "test accuracy", "linear", "Gaussian"):
        assert words in told
    assert (output / "gram.png").read_bytes().startswith(b"\x89PNG")
    assert processes_naming(marked) == []

    run(output, few(load_images()))
    assert "1 were reused" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_server_along(marked, tmp_path, number):
    command = [sys.executable, "-m", "gramserve", "demo", "--out", str(tmp_path / "demo")]
    demo = subprocess.Popen(
        command, env=child_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in demo.stderr:
        if "it answers at" in line:
            break
    assert len(processes_naming(marked)) >= 2
    demo.send_signal(number)
    demo.stderr.read()
    assert demo.wait(60) == 130
    demo.stderr.close()
    deadline = time.monotonic() + 10
    while processes_naming(marked) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_naming(marked) == []


def test_a_server_that_cannot_start_is_quoted(marked, tmp_path):
    (tmp_path / "state").write_text("a file where the directory should be")
    with (
        pytest.raises(ServiceUnreachableError, match="is a file"),
        running_server(tmp_path / "state"),
    ):
        pass
    assert processes_naming(marked) == []
