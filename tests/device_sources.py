"""The CUDA engine's sources, compiled for this machine by g++."""

import ctypes
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

SOURCES = Path(str(files("gramserve.kernels.cuda"))) / "sources"
KEYWORDS = Path(__file__).with_name("device_keywords.h")

SCALARS = {"float32": "float", "float64": "double"}


def compile_for_host(place, source):
    """Return functions without threads, those that are ``extern "C"``, as a library."""
    if shutil.which("g++") is None:
        pytest.fail("g++ is needed to run the sources of the CUDA engine on this machine")
    path, built = place / "source.cpp", place / "source.so"
    path.write_text(source)
    subprocess.run(
        [
            "g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
            "-Wno-unknown-pragmas", "-include", KEYWORDS, "-I", SOURCES, path, "-o", built,
        ],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(built))


def pointers(*arrays):
    """Return arrays, which are contiguous, as arguments of a function of such a library."""
    return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
