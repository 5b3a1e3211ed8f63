from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import BlockMissingError, CorruptBlockError, StoreMismatchError
from gramserve.store import GramStore, adopt_block

Matrix = tuple[GramStore, np.ndarray]
Make = Callable[..., GramStore]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Create an empty matrix."""

    def create(name: str, **changes: object) -> GramStore:
        asked = {"shape": (11, 11), "dtype": "f4", "block_size": 4, "symmetric": True} | changes
        return GramStore.create(tmp_path / name, **asked)

    return create


def test_a_block_of_the_same_layout_is_linked(symmetric: Matrix, make: Make) -> None:
    source, dense = symmetric
    target = make("t", shape=(12, 12))
    checksum = adopt_block(target, (0, 1), source, (0, 1))
    assert checksum == target.verify_block(0, 1) == source.verify_block(0, 1)
    for place in ((0, 1), (1, 0)):
        assert target.object_path(*place).samefile(source.object_path(*place))
    source.write_block(0, 1, np.zeros((4, 4), "f4"))  # replaces the name, not the bytes
    np.testing.assert_array_equal(target.read_block(0, 1), dense[:4, 4:8])
    source.drop_block(0, 1)
    target.verify_block(0, 1)


def test_orientations(symmetric: Matrix, make: Make) -> None:
    source, dense = symmetric
    target = make("t", shape=(12, 12))
    adopt_block(target, (2, 0), source, (1, 0))
    np.testing.assert_array_equal(target.read_block(2, 0), dense[4:8, :4])
    adopt_block(target, (0, 1), source, (1, 0))
    np.testing.assert_array_equal(target.read_block(0, 1), dense[4:8, :4])
    target.verify_block(0, 1)
    cross = make("c", shape=(11, 8), symmetric=False)
    checksum = adopt_block(cross, (2, 1), source, (2, 1))
    assert checksum == cross.verify_block(2, 1)
    np.testing.assert_array_equal(cross.read_block(2, 1), dense[8:, 4:8])
    again = make("a", shape=(12, 12))
    with pytest.raises(StoreMismatchError):
        adopt_block(again, (0, 1), cross, (2, 1))


def test_a_cross_block_is_written_with_its_mirror(make: Make) -> None:
    cross = make("c", shape=(8, 8), symmetric=False)
    values = np.arange(16, dtype="f4").reshape(4, 4)
    cross.write_block(0, 1, values)
    target = make("t", shape=(8, 8))
    adopt_block(target, (1, 0), cross, (0, 1))
    np.testing.assert_array_equal(target.read_block(1, 0), values)
    np.testing.assert_array_equal(target.read_block(0, 1), values.T)
    assert not target.object_path(1, 0).samefile(cross.object_path(0, 1))


def test_a_cross_block_on_the_diagonal_becomes_symmetric(make: Make) -> None:
    cross = make("c", shape=(8, 8), symmetric=False)
    values = np.ones((4, 4), "f4")
    values[2, 1] += 1e-6
    cross.write_block(0, 0, values)
    target = make("t", shape=(8, 8))
    adopt_block(target, (0, 0), cross, (0, 0))
    np.testing.assert_array_equal(target.read_block(0, 0), np.ones((4, 4)))


def test_another_block_size_is_written_anew(symmetric: Matrix, make: Make) -> None:
    source, dense = symmetric
    target = make("t", shape=(3, 3), block_size=64)
    adopt_block(target, (0, 0), source, (2, 2))
    np.testing.assert_array_equal(target.read(), dense[8:, 8:])


def test_bad_sources_are_not_adopted(symmetric: Matrix, make: Make) -> None:
    source, _ = symmetric
    target = make("t")
    path = source.object_path(1, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptBlockError):
        adopt_block(target, (0, 1), source, (0, 1))
    source.drop_block(0, 1)
    with pytest.raises(BlockMissingError):
        adopt_block(target, (0, 1), source, (0, 1))
    with pytest.raises(StoreMismatchError, match=r"\(4, 4\) of float32 against \(4, 3\)"):
        adopt_block(target, (0, 1), source, (1, 2))
    with pytest.raises(StoreMismatchError, match="float64"):
        adopt_block(make("d", dtype="f8"), (0, 0), source, (0, 0))
    assert target.stored_blocks() == set()
