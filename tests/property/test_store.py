"""Whatever the grid and whatever is asked for, the store gives what the dense matrix has."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gramserve.errors import BlockMissingError
from gramserve.rows import npy_header, select
from gramserve.store import DatasetStore, GramStore
from gramserve.store.shard_files import ShardFiles


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, int, bool]:
    """A dense matrix, a block size, and whether it is symmetric."""
    is_symmetric = draw(st.booleans())
    rows = draw(st.integers(1, 40))
    columns = rows if is_symmetric else draw(st.integers(1, 40))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    dense = np.random.default_rng(draw(st.integers(0, 9))).normal(size=(rows, columns))
    dense = (dense + dense.T if is_symmetric else dense).astype(dtype)
    return dense, draw(st.integers(1, 45)), is_symmetric


def selections(count: int) -> st.SearchStrategy[slice | list[int] | None]:
    return st.one_of(
        st.none(),
        st.builds(
            lambda ends, step: slice(min(ends), max(ends), step),
            st.tuples(st.integers(0, count), st.integers(0, count)),
            st.integers(1, 5),
        ),
        st.lists(st.integers(0, count - 1), max_size=20),
    )


def pick(dense: np.ndarray, axis: int, chosen: slice | list[int] | None) -> np.ndarray:
    if chosen is None:
        return dense
    indices = np.arange(dense.shape[axis])
    return np.take(dense, indices[chosen] if isinstance(chosen, slice) else chosen, axis=axis)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), matrix=matrices())
def test_any_selection_of_any_grid(
    data: st.DataObject, matrix: tuple[np.ndarray, int, bool]
) -> None:
    dense, size, is_symmetric = matrix
    with tempfile.TemporaryDirectory() as folder:
        made = GramStore.create(
            Path(folder) / "g",
            shape=dense.shape,
            dtype=dense.dtype,
            block_size=size,
            symmetric=is_symmetric,
        )
        blocks = data.draw(st.permutations(list(made.planned_blocks())))
        for i, j in blocks:
            made.write_block(i, j, dense[i * size : i * size + size, j * size : j * size + size])
        assert made.stored_blocks() == set(blocks)
        assert made.block_count == len(blocks)
        store = GramStore(made.path, made.header, ShardFiles(capacity=2))
        np.testing.assert_array_equal(store.array()[:], dense)
        for _ in range(3):
            rows = data.draw(selections(dense.shape[0]))
            columns = data.draw(selections(dense.shape[1]))
            expected = pick(pick(dense, 0, rows), 1, columns)
            np.testing.assert_array_equal(store.read(rows, columns), expected, strict=True)
            pieces = select(store, rows, columns).pieces(data.draw(st.integers(1, 600)))
            body = npy_header(expected.shape, store.dtype) + b"".join(p for _, p in pieces)
            np.testing.assert_array_equal(np.load(io.BytesIO(body)), expected)

        dropped = data.draw(st.sampled_from(blocks))
        store.drop_block(*dropped)
        grid = np.zeros(dense.shape, bool)
        for i, j in {dropped, dropped[::-1]} if is_symmetric else {dropped}:
            grid[i * size : i * size + size, j * size : j * size + size] = True
        rows = data.draw(selections(dense.shape[0]))
        columns = data.draw(selections(dense.shape[1]))
        if pick(pick(grid, 0, rows), 1, columns).any():
            assert store.missing_blocks(rows, columns) == [dropped]
            with pytest.raises(BlockMissingError) as caught:
                store.read(rows, columns)
            assert caught.value.context["blocks"] == [list(dropped)]
        else:
            assert store.missing_blocks(rows, columns) == []
            expected = pick(pick(dense, 0, rows), 1, columns)
            np.testing.assert_array_equal(store.read(rows, columns), expected)
        store._files.close()


@settings(deadline=None, max_examples=40)
@given(
    values=arrays(
        st.sampled_from(["u1", ">i2", "<u4", ">f4", "f8", "f2"]),
        array_shapes(min_dims=2, max_dims=4, max_side=6),
        elements=st.integers(0, 100),
    ),
    is_fortran=st.booleans(),
)
def test_any_items_come_back(values: np.ndarray, is_fortran: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = DatasetStore(Path(folder) / "d")
        np.save(Path(folder) / "x.npy", np.asfortranarray(values) if is_fortran else values)
        record = store.add(Path(folder) / "x.npy")
        np.testing.assert_array_equal(store.read(record.digest), values)
        assert store.add(values).known
        assert store.range_digest(record.digest, 0, len(values)) == record.digest
