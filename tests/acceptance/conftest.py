"""What command lines are given: images and a kernel, as files."""

import json

import numpy as np
import pytest
from command_line import KERNEL


@pytest.fixture
def images(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (20, 6, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy", x


@pytest.fixture
def kernel_file(tmp_path):
    path = tmp_path / "kernel.json"
    path.write_text(json.dumps(KERNEL))
    return path
