"""The house itself: what documentation promises is there, and what is there is documented."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mkdocs.config import load_config

from gramserve.cli import app
from gramserve.config import Settings
from gramserve.errors import GramserveError
from gramserve.service.app import create_app
from gramserve.spec import PRESETS, RECIPES
from gramserve.spec.layers import LAYER_TYPES
from gramserve.spec.preprocessing import STEP_TYPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted((ROOT / "gramserve").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST = 400
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc", "manager", "base"}


def text(name):
    return (DOCS / name).read_text()


def test_files_are_small_and_named_for_one_noun():
    assert len(SOURCES) > 100
    for path in SOURCES + TESTS:
        lines = path.read_text().count("\n")
        assert lines <= LONGEST, f"{path.relative_to(ROOT)} has {lines} lines"
        assert path.stem not in FORBIDDEN_NAMES, path


def test_every_module_says_what_it_is():
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_and_every_documented_one_exists(name):
    assert f"`GRAMSERVE_{name.upper()}`" in text("operations.md")


def test_no_documented_setting_is_missing():
    mentioned = set()
    for path in (*DOCS.glob("*.md"), ROOT / "README.md"):
        mentioned |= set(re.findall(r"GRAMSERVE_([A-Z_]+[A-Z])", path.read_text()))
    # GRAMSERVE_URL is the client's own.
    assert mentioned <= {name.upper() for name in Settings.model_fields} | {"URL"}


def tree(kind=GramserveError):
    ours = (child for child in kind.__subclasses__() if child.__module__ == "gramserve.errors")
    return [kind, *(found for child in ours for found in tree(child))]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_error_is_documented_with_its_code(kind):
    row = next(line for line in text("errors.md").splitlines() if f"`{kind.__name__}`" in line)
    assert f"| `{kind.code}` |" in row
    assert kind is GramserveError or ("retryable" in row) == kind.retryable


@pytest.mark.parametrize("name", [*LAYER_TYPES, *PRESETS])
def test_every_layer_and_preset_is_documented(name):
    assert re.search(rf"`{name}`", text("spec.md"))


def test_every_field_of_every_layer_is_documented():
    spec = text("spec.md")
    for name, model in LAYER_TYPES.items():
        for field in set(model.model_fields) - {"type"}:
            assert re.search(rf"`{field}`", spec), f"{name}.{field}"


def test_every_step_and_recipe_of_preprocessing_is_documented_with_its_fields():
    page = text("preprocessing.md")
    models = {**STEP_TYPES, **{name: model for name, (model, _) in RECIPES.items()}}
    for name, model in models.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        for field in set(model.model_fields) - {"type", "preset"}:
            assert f"`{field}`" in row, f"{name}.{field}"


def test_every_command_is_documented():
    cli = text("cli.md")
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(commands) > 8
    for name in [*commands, *(group.name for group in app.registered_groups)]:
        assert re.search(rf"`{name}\b", cli), name


def test_every_route_is_documented(tmp_path):
    http = text("http.md")
    paths = create_app(Settings(data_dir=tmp_path, workers=0)).openapi()["paths"]
    assert len(paths) > 15
    for path in paths:
        shape = re.sub(r"\{[^}]*\}", "{}", path)
        documented = {
            re.sub(r"\{[^}]*\}", "{}", found)
            for found in re.findall(r"(?:/v1|/livez|/readyz)[^\s`?]*", http)
        }
        assert shape in documented, path


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [one for name in extras for one in extras[name]]
    table = text("architecture.md").partition("## Libraries")[2].lower()
    first_cells = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    named = {word for cell in first_cells for word in re.findall(r"[a-z0-9-]+", cell)}
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower()
        assert name == "gramserve" or name in named, requirement
        assert name == "gramserve" or ">=" in requirement, f"{requirement} has no lower bound"


def test_the_navigation_has_every_page():
    nav = load_config(str(ROOT / "mkdocs.yml")).nav
    listed = {page for entry in nav for page in _pages(entry)}
    assert listed == {path.name for path in DOCS.glob("*.md")}


def _pages(entry):
    if isinstance(entry, str):
        return [entry]
    if isinstance(entry, dict):
        return [page for value in entry.values() for page in _pages(value)]
    return [page for value in entry for page in _pages(value)]


def test_the_readme_names_commands_that_exist():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", readme))
    assert {"demo", "test"} <= named <= targets
    for path in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / path).exists(), path


def test_engines_need_neither_dask_nor_zarr_nor_fastapi():
    """A machine with an accelerator may have little more than NumPy, SciPy and pydantic."""
    blocked = ["zarr", "dask", "distributed", "fastapi", "sqlalchemy", "httpx", "rfc8785"]
    code = f"""
import sys
for name in {blocked}:
    sys.modules[name] = None
import numpy as np
from gramserve.compute import compute_gram
x = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
gram = compute_gram(x, kernel="myrtle5", precision="float64")
assert gram.shape == (3, 3) and np.allclose(np.diag(gram), 1), gram
"""
    subprocess.run([sys.executable, "-c", code], check=True)
