import copy
import pickle

import pytest

from gramserve import errors
from gramserve.errors import GramserveError, error_for_code


def tree(kind=GramserveError):
    """Return a class and all of gramserve's below it, in their order; tests may have their own."""
    ours = (child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return [kind, *(found for child in ours for found in tree(child))]


def test_codes_are_unique_and_lead_back_to_their_class():
    codes = [kind.code for kind in tree()]
    assert len(set(codes)) == len(codes)
    for kind in tree():
        assert error_for_code(kind.code) is kind
    assert error_for_code("no_such_code") is GramserveError


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_errors_cross_process_borders_whole(kind):
    error = kind("do this", errors=[{"loc": "a", "message": "b"}], block=[0, 1])
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(same) is kind
        assert str(same) == same.message == "do this"
        assert same.errors == [{"loc": "a", "message": "b"}]
        assert same.context == {"block": [0, 1]}


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ShapeError, ValueError),
        (errors.UnsupportedDtypeError, TypeError),
        (errors.RowRangeError, IndexError),
        (errors.MemoryBudgetError, MemoryError),
        (errors.NonFiniteKernelError, RuntimeError),
        (errors.StorageFullError, OSError),
        (errors.JobNotFoundError, LookupError),
        (errors.AccessError, PermissionError),
        (errors.WaitTimeoutError, TimeoutError),
        (errors.ServiceUnreachableError, ConnectionError),
    ],
)
def test_errors_are_the_builtin_that_people_catch(kind, builtin):
    assert issubclass(kind, builtin)


def test_the_tree_in_the_docstring_is_the_tree():
    for kind in tree():
        assert f"{kind.__name__} " in errors.__doc__ + " ", kind
