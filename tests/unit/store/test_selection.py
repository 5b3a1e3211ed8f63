from itertools import pairwise

import numpy as np
import pytest

from gramserve.errors import RowRangeError
from gramserve.store import resolve


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (None, list(range(10))),
        (3, [3]),
        (np.int64(9), [9]),
        (slice(None), list(range(10))),
        (slice(2, 5), [2, 3, 4]),
        (slice(2, 9, 3), [2, 5, 8]),
        (slice(4, 4), []),
        (slice(10, 10), []),
        (slice(5, 2), []),
        (range(3, 6), [3, 4, 5]),
        (range(8, 2, -3), [8, 5]),
        (range(0), []),
        ([], []),
        ([7], [7]),
        ([7, 2, 7], [7, 2, 7]),
        (np.array([1, 2, 3], "uint8"), [1, 2, 3]),
        ((4, 5), [4, 5]),
    ],
)
def test_requests(request_: object, indices: list[int]) -> None:
    found = resolve(request_, 10)  # type: ignore[arg-type]
    assert list(found) == indices
    follows = all(b == a + 1 for a, b in pairwise(indices))
    assert isinstance(found, range) == follows
    if isinstance(found, range):
        assert found.step == 1


@pytest.mark.parametrize(
    "request_",
    [
        -1,
        10,
        [0, 10],
        [-1],
        slice(0, 11),
        slice(11, 11),
        slice(-3, None),
        slice(0, -1),
        slice(None, None, -1),
        slice(0, 5, 0),
        slice("a", 5),
        range(5, 12),
        range(2, -2, -1),
        [0.5],
        ["1"],
        [[1, 2]],
        [[1], [2, 3]],
        [True, False],
        True,
        3.0,
        [2**70],
        np.array([2**63], "uint64"),
        np.zeros((2, 2), int),
    ],
)
def test_refused(request_: object) -> None:
    with pytest.raises(RowRangeError, match="rows"):
        resolve(request_, 10)  # type: ignore[arg-type]


def test_the_message_names_the_last_one_there_is() -> None:
    with pytest.raises(RowRangeError, match="columns 12: there are 10, the last is 9"):
        resolve([3, 12], 10, "columns")
