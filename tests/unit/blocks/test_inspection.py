"""What stored numbers say of themselves."""

import numpy as np
import pytest

from gramserve.blocks import LoopExecutor, audit_tolerance, inspection, run_inspection
from gramserve.errors import BlockMissingError, CorruptBlockError
from gramserve.spec import parse_kernel
from gramserve.store import GramStore


def stored(folder, values, *, symmetric=True, block_size=32):
    gram = GramStore.create(
        folder / "gram",
        shape=values.shape,
        dtype=values.dtype,
        block_size=block_size,
        symmetric=symmetric,
    )
    for i, j in gram.planned_blocks():
        down = slice(i * block_size, (i + 1) * block_size)
        across = slice(j * block_size, (j + 1) * block_size)
        gram.write_block(i, j, values[down, across])
    return gram


@pytest.fixture
def matrix():
    """A covariance of 150 rows whose spectrum falls from 1000 to 0.5."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(150, 150)))[0]
    values = (rotation * np.geomspace(0.5, 1000, 150)) @ rotation.T
    return (values + values.T) / 2


def test_small_matrices_are_exact(tmp_path, matrix):
    gram = stored(tmp_path, matrix)
    found = run_inspection(LoopExecutor(), str(gram.path), 0)
    assert found.symmetric is True
    assert found.largest_value == np.abs(matrix).max()
    assert found.diagonal == (np.diag(matrix).min(), np.diag(matrix).max())
    assert found.spectrum["method"] == "exact"
    assert found.spectrum["smallest"] == pytest.approx(0.5, abs=1e-10)
    assert found.spectrum["largest"] == pytest.approx(1000)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_lanczos_is_above_the_smallest_eigenvalue_and_says_how_far(
    tmp_path, matrix, monkeypatch, dtype
):
    gram = stored(tmp_path, matrix.astype(dtype))
    truth = np.linalg.eigvalsh(gram.read().astype(float))
    monkeypatch.setattr(inspection, "EXACT_ROWS", 10)
    found = inspection.spectrum_ends(gram)
    assert (found["method"], found["steps"]) == ("lanczos", 96)
    assert truth[0] - 1e-9 <= found["smallest"] <= truth[0] + 0.5
    assert np.abs(truth - found["smallest"]).min() <= found["residual"] + 1e-9
    assert found["largest"] == pytest.approx(truth[-1], rel=1e-6)


def test_lanczos_ends_when_it_has_seen_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "EXACT_ROWS", 10)
    found = inspection.spectrum_ends(stored(tmp_path, np.diag(np.repeat([2.0, 5.0, 7.0], 20))))
    assert found["steps"] == 3
    assert (found["smallest"], found["largest"]) == (pytest.approx(2), pytest.approx(7))
    assert found["residual"] < 1e-10


def test_broken_mirrors_and_missing_blocks_are_noticed(tmp_path, matrix):
    gram = stored(tmp_path, matrix)
    other = stored(tmp_path / "o", matrix.T * 1.5)
    gram.object_path(2, 1).write_bytes(other.object_path(2, 1).read_bytes())
    assert inspection.inspect_gram(gram).symmetric is False
    gram.object_path(2, 1).write_bytes(b"")
    with pytest.raises(CorruptBlockError):
        inspection.inspect_gram(gram)
    gram.drop_block(1, 2)
    with pytest.raises(BlockMissingError):
        run_inspection(LoopExecutor(), str(gram.path), 0)


def test_rectangular_matrices_have_neither_symmetry_nor_spectrum(tmp_path, matrix):
    gram = stored(tmp_path, matrix[:40, :100], symmetric=False)
    found = inspection.inspect_gram(gram)
    assert found.symmetric is found.spectrum is found.diagonal is None
    assert found.largest_value == np.abs(matrix[:40, :100]).max()


@pytest.mark.parametrize(
    ("layers", "kernel", "tolerance"),
    [
        ([{"type": "dense"}, {"type": "relu"}], "nngp", 2e-6),
        ([{"type": "dense"}, {"type": "relu"}], "ntk", 1e-5),
        ([{"type": "dense"}, {"type": "sign"}], "nngp", 1e-5),
        ([{"type": "residual", "branches": [[{"type": "step"}], []]}], "nngp", 1e-5),
        ([{"type": "arc_cosine", "order": 0}], "nngp", 1e-5),
        ([{"type": "arc_cosine", "order": 1}], "nngp", 2e-6),
    ],
)
def test_tolerances_follow_the_smoothness_of_the_kernel(layers, kernel, tolerance):
    spec = parse_kernel({"layers": [*layers, {"type": "dense"}], "kernel": kernel})
    assert audit_tolerance(spec, "float32") == tolerance
    assert audit_tolerance(spec, "float64") < tolerance
