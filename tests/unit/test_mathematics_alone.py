"""The mathematics runs where only NumPy, SciPy, Numba and pydantic are installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCKED = r"""
import sys

NEEDED = {
    "numpy", "scipy", "numba", "llvmlite", "pydantic", "pydantic_core",
    "annotated_types", "typing_extensions", "typing_inspection", "gramserve",
    "cupy", "cupyx", "cupy_backends", "cuda", "nvidia",
}
OURS = {"benchmarks", "cuda_shim"}  # of the tests


class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in NEEDED | OURS or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"{name} is not installed here", name=name)


sys.meta_path.insert(0, Blocker())
"""
"""Hides every other package, as on a machine that lacks it."""


def run_alone(code, *arguments):
    """Run code in a fresh interpreter that has the packages of the mathematics alone."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=200,
    )


def test_the_blocker_blocks():
    tries = "".join(
        f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print(error)\n"
        for name in ("zarr", "distributed", "fastapi", "sqlalchemy", "rfc8785")
    )
    assert run_alone(tries).stdout.count("is not installed here") == 5


def test_rooms_of_the_mathematics_need_nothing_else():
    rooms = "arrays, spec, stages, kernels, preprocessing, learn, compute"
    done = run_alone(f"import gramserve.kernels.cuda\nfrom gramserve import {rooms}")
    assert done.returncode == 0, done.stderr


def test_a_gram_matrix_needs_nothing_else():
    done = run_alone(
        "import gramserve, numpy\n"
        "recipe = {'steps': [{'type': 'center'}]}\n"
        "x = gramserve.fit_recipe(numpy.eye(3, 8), recipe).apply(numpy.eye(3, 8))\n"
        "gram = gramserve.compute_gram(x, kernel='fc', engine='reference')\n"
        "assert gram.shape == (3, 3) and numpy.isfinite(gram).all()"
    )
    assert done.returncode == 0, done.stderr
