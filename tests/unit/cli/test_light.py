import subprocess
import sys

import pytest

HEAVY = {"numpy", "zarr", "dask", "distributed", "sqlalchemy", "fastapi", "httpx", "pydantic"}


def modules_after(statement):
    """Return the top-level modules that a fresh interpreter has after a statement."""
    code = (
        f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import gramserve",
        "import gramserve; dir(gramserve); gramserve.__version__; gramserve.errors",
        "import gramserve.cli",
        "from gramserve.cli import app\napp(['--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    assert not modules_after(statement) & HEAVY


def test_the_client_brings_nothing_of_the_server():
    heavy = {"zarr", "dask", "distributed", "sqlalchemy", "fastapi", "scipy"}
    assert not modules_after("import gramserve; gramserve.connect") & heavy


def test_public_names_are_there_and_sorted():
    import gramserve

    assert gramserve.__all__ == sorted(gramserve.__all__)
    for name in gramserve.__all__:
        assert getattr(gramserve, name) is not None
    assert set(gramserve.__all__) <= set(dir(gramserve))
    with pytest.raises(AttributeError, match="no_such_name"):
        gramserve.no_such_name  # noqa: B018
