"""Whitening against its definition, against scikit-learn, and where it cannot be done."""

from pathlib import Path

import naive_steps as naive
import numpy as np
import pytest
from sklearn.decomposition import PCA

from gramserve.errors import InvalidDataError, MemoryBudgetError
from gramserve.preprocessing import fit_recipe, preprocess
from gramserve.preprocessing.whitening import whitening_matrix
from gramserve.spec.preprocessing import Zca

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def photos():
    """Real photographs, thinned out to 8 x 8 pixels of three colours."""
    with np.load(DATA / "cifar_200.npz") as data:
        return data["images"][:, ::4, ::4]


def test_the_recipe_of_neural_kernels_without_tangents(photos):
    train, test = photos[:150], photos[150:]
    fitted = fit_recipe(train, "shankar2020")

    def unit_rows(x):
        rows = x.reshape(len(x), -1).astype(np.float64)
        rows = rows - rows.mean(axis=1)[:, None]
        return rows / np.linalg.norm(rows, axis=1)[:, None]

    rows = unit_rows(train)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    matrix = vectors @ np.diag(1 / np.sqrt(values + 1e-4)) @ vectors.T
    for x in (train, test):
        got = fitted.apply(x, dtype="float64").reshape(len(x), -1)
        np.testing.assert_allclose(got, unit_rows(x) @ matrix, rtol=0, atol=1e-10)


def test_regularization_relative_to_the_mean_of_the_eigenvalues(photos):
    train, test = photos[:150], photos[150:]
    first = naive.normalized(naive.centred(train), "unit")
    second = naive.normalized(naive.centred(test), "unit")
    got = preprocess(test, "nguyen2021", fit=train, dtype="float64")
    np.testing.assert_allclose(got, naive.whitened(second, first, 0.1, "relative"), atol=1e-11)


def test_contrast_normalization_with_centred_whitening(photos):
    first = naive.normalized(naive.centred(photos), "rms", eps=10)
    got = preprocess(photos, "coates2011", dtype="float64")
    np.testing.assert_allclose(got, naive.whitened(first, first, 0.1, center=True), atol=1e-11)


def test_it_is_the_whitening_of_scikit_learn_up_to_a_rotation(photos):
    x = photos[:, ::2, ::2].astype(float)
    step = {"type": "zca", "regularization": 0, "center": True}
    got = preprocess(x, {"steps": [step]}, dtype="float64").reshape(len(x), -1)
    # scikit-learn divides by n - 1.
    other = PCA(whiten=True).fit_transform(x.reshape(len(x), -1)) * np.sqrt(200 / 199)
    np.testing.assert_allclose(got @ got.T, other @ other.T, atol=1e-8)
    np.testing.assert_allclose(got.T @ got / len(x), np.eye(48), atol=1e-9)


def test_the_matrix_is_symmetric_to_the_bit_and_positive():
    rows = np.random.default_rng(0).normal(size=(40, 30))
    matrix = whitening_matrix(rows.T @ rows / 40, Zca(regularization=0.1))
    assert (matrix == matrix.T).all()
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_equal_eigenvalues_do_not_make_it_arbitrary():
    """Of equal eigenvalues any basis is as good; the matrix must not show which was taken."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))
    moments = turn @ np.diag([4.0] * 6 + [1.0] * 6) @ turn.T
    matrix = whitening_matrix((moments + moments.T) / 2, Zca(regularization=0))
    np.testing.assert_allclose(matrix, turn @ np.diag([0.5] * 6 + [1.0] * 6) @ turn.T, atol=1e-13)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
def test_fewer_items_than_values_need_a_regularization(photos, mode):
    few = photos[:20]
    with pytest.raises(InvalidDataError, match=r"\d+ of 192 directions .*raise the regular"):
        preprocess(few, {"steps": [{"type": "zca", "regularization": 0, "mode": mode}]})
    got = preprocess(few, {"steps": [{"type": "zca", "regularization": 1, "mode": mode}]})
    assert np.isfinite(got).all()


def test_items_that_are_all_zero_cannot_be_whitened_relative_to_anything():
    step = {"type": "zca", "mode": "relative"}
    with pytest.raises(InvalidDataError, match="all items are zero where the whitening begins"):
        preprocess(np.full((5, 3), 7), {"steps": [{"type": "center"}, step]})
    absolute = preprocess(np.full((5, 3), 7), {"steps": [{"type": "center"}, {"type": "zca"}]})
    assert (absolute == 0).all()


def test_one_item(photos):
    got = preprocess(photos[:1], "shankar2020", dtype="float64")
    unit = naive.normalized(naive.centred(photos[:1]), "unit")
    # One direction with eigenvalue 1, and the item lies in it.
    np.testing.assert_allclose(got, unit / np.sqrt(1 + 1e-4), atol=1e-12)


def test_items_too_large_for_a_matrix_are_refused_before_they_are_read():
    class Unread:
        shape = (10, 300, 300, 3)
        dtype = np.dtype("uint8")

        def __getitem__(self, run):
            raise AssertionError("read")

    with pytest.raises(MemoryBudgetError, match="270,000 values") as caught:
        fit_recipe(Unread(), "shankar2020", memory_bytes=2**30)
    assert "use standardize" in str(caught.value)
    assert caught.value.context["memory_bytes"] == 2**30
    largest = int((2**30 / 32) ** 0.5)
    assert f"at most {largest:,} values" in str(caught.value)
    x = np.random.default_rng(0).normal(size=(20, 50))
    with pytest.raises(MemoryBudgetError, match="at most 49 values"):
        fit_recipe(x, "shankar2020", memory_bytes=32 * 49**2)
    assert fit_recipe(x, "shankar2020", memory_bytes=32 * 50**2).item_shape == (50,)
