"""Gram matrices that lie on a real disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gramserve.store import GramStore


def fill(store: GramStore, dense: np.ndarray) -> None:
    """Write all blocks of a dense matrix."""
    size = store.block_size
    for i, j in store.planned_blocks():
        store.write_block(i, j, dense[i * size : (i + 1) * size, j * size : (j + 1) * size])


@pytest.fixture(name="fill")
def fill_fixture() -> Callable[[GramStore, np.ndarray], None]:
    """Write all blocks of a dense matrix."""
    return fill


@pytest.fixture
def symmetric(tmp_path: Path) -> tuple[GramStore, np.ndarray]:
    """A complete symmetric matrix of 11 rows in blocks of 4, ragged at the edge."""
    dense = np.random.default_rng(1).normal(size=(11, 11)).astype("float32")
    dense += dense.T
    store = GramStore.create(
        tmp_path / "symmetric",
        shape=(11, 11),
        dtype="float32",
        block_size=4,
        symmetric=True,
        attributes={"kernel": {"name": "nngp"}, "dataset": "d"},
    )
    fill(store, dense)
    return store, dense


@pytest.fixture
def cross(tmp_path: Path) -> tuple[GramStore, np.ndarray]:
    """A complete 10 x 7 matrix of float64 in blocks of 4."""
    dense = np.random.default_rng(2).normal(size=(10, 7))
    store = GramStore.create(
        tmp_path / "cross", shape=(10, 7), dtype="float64", block_size=4, symmetric=False
    )
    fill(store, dense)
    return store, dense
