import re
from pathlib import Path

import pytest

from gramserve import errors
from gramserve.cli import exits


def every_error(kind=errors.GramserveError):
    """Return the whole tree of errors."""
    return [kind, *(child for sub in kind.__subclasses__() for child in every_error(sub))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_documented_code(kind):
    code = exits.exit_code(kind("m"))
    assert code in exits.MEANINGS
    assert code not in (exits.OK, exits.USAGE, exits.INTERRUPTED)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ShapeError, 3),
        (errors.MemoryBudgetError, 3),
        (errors.StoreNotFoundError, 4),
        (errors.JobNotFoundError, 4),
        (errors.AccessError, 5),
        (errors.NonFiniteKernelError, 6),
        (errors.BlockMissingError, 6),
        (errors.ServiceUnreachableError, 7),
        (errors.StorageFullError, 8),
        (errors.StoreMismatchError, 8),
        (errors.GramserveError, 1),
    ],
)
def test_codes_of_the_contract(kind, code):
    assert exits.exit_code(kind("m")) == code


def test_the_page_repeats_the_table():
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.M)}
    assert rows == exits.MEANINGS


def test_the_help_ends_with_the_codes():
    assert all(f"{code}: {meaning}" in exits.epilog() for code, meaning in exits.MEANINGS.items())
