"""The benchmark of the CUDA engine as a program: without a card, and dry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
BENCHMARKS = ROOT / "tests" / "benchmarks"

ALONE = """
import runpy, sys
sys.path.insert(0, "tests/unit")
import test_mathematics_alone
exec(test_mathematics_alone.BLOCKED)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script where only the packages of the mathematics are."""


def run(script, *arguments):
    command = [sys.executable, "-c", ALONE, str(BENCHMARKS / script), *map(str, arguments)]
    # An empty CUDA_VISIBLE_DEVICES hides every card.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": "."}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_a_dry_run_takes_every_path(tmp_path):
    done = run("cuda.py", "--dry", "--rounds", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("not run: ")
    found = json.loads((tmp_path / "cuda.json").read_text())
    assert found["dry"]
    assert set(found["ceilings"]) == {"issue", "fma_f32", "fma_f64", "shuffle", "root", "copy"}
    assert [row["precision"] for row in found["rows"]] == ["float32", "mixed", "float64"] * 2
    for row in found["rows"]:
        assert row["fault"] is None
        assert row["differs"] < (1e-12 if row["precision"] == "float64" else 2e-6)
        assert (row["microseconds"] is None) == (row["precision"] == "float64")
    (dense,) = found["baseline"]
    assert dense["differs"] < 2e-6
    report = (tmp_path / "cuda.md").read_text()
    assert "none of these times mean anything" in report
    assert "| Myrtle5, NNGP | float32 | 36 |" in report


def test_without_a_card_it_says_why(tmp_path):
    for options, status in (((), 1), (("--if-card",), 0)):
        done = run("cuda.py", *options, "--out", tmp_path)
        assert done.returncode == status
        assert (done.stdout + done.stderr).startswith("not run: ")
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_is_a_failure(tmp_path):
    done = run("cuda.py", "--dry", "--only", "resnet", "--out", tmp_path)
    assert done.returncode == 1
    assert "no network here has 'resnet' in its name" in done.stdout


SMALL = ("--train", 20, "--test", 10)


@pytest.fixture
def photographs(tmp_path):
    with np.load(ROOT / "tests" / "data" / "cifar_200.npz") as data:
        # The middle of each: whitening is work of the sixth power of the side.
        x, labels = data["images"][:, 8:24, 8:24], data["labels"]
    path = tmp_path / "photographs.npz"
    np.savez(path, train=x[:100], train_labels=labels[:100], test=x[100:], test_labels=labels[100:])
    return path


def test_ridge_regression_from_images_to_accuracy(photographs):
    kernel = ("--kernel", "myrtle5", "--engine", "cpu")
    done = run("cifar_ridge.py", "--data", photographs, *SMALL, *kernel)
    assert done.returncode == 0, done.stderr
    assert "410 pairs in " in done.stdout
    assert "of 10 test images" in done.stdout
    assert "published: 90 %" in done.stdout


def test_ridge_regression_says_what_is_missing(photographs, tmp_path):
    done = run("cifar_ridge.py", "--data", tmp_path / "none.npz")
    assert "none.npz is not there" in done.stderr
    done = run("cifar_ridge.py", "--data", photographs, "--train", 35, "--test", 10)
    assert "multiples of 10" in done.stderr
    done = run("cifar_ridge.py", "--data", photographs, "--train", 200, "--test", 10)
    assert "fewer than 20 images of a class" in done.stderr
    done = run("cifar_ridge.py", "--data", photographs, *SMALL, "--kernel", "myrtle6")
    assert done.stderr.startswith("kernel spec: unknown preset 'myrtle6'")
