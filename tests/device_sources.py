"""The CUDA engine's sources, compiled for this machine by g++ or for cards by nvcc."""

import ctypes
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

SOURCES = Path(str(files("gramserve.kernels.cuda"))) / "sources"
KEYWORDS = Path(__file__).with_name("device_keywords.h")

SCALARS = {"float32": "float", "float64": "double"}

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


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


def compile_for_card(place, source, *options):
    """Return what nvcc makes of a source, with options that say what and for which card."""
    path, built = place / "source.cu", place / "source.out"
    path.write_text(source)
    strict = ["-std=c++17", "-Werror", "all-warnings", "-I", SOURCES]
    subprocess.run(["nvcc", *strict, *options, path, "-o", built], check=True)
    return built.read_bytes()


def pointers(*arrays):
    """Return arrays, which are contiguous, as arguments of a function of such a library."""
    return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
