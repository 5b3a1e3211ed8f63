"""Every step against its definition written as loops, on photographs and on awkward items."""

from pathlib import Path

import naive_steps as naive
import numpy as np
import pytest

from gramserve.errors import InvalidDataError, ShapeError, SpecError, UnsupportedDtypeError
from gramserve.preprocessing import fit_recipe, preprocess, runs

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def photos():
    """Real photographs, thinned out to 8 x 8 pixels of three colours."""
    with np.load(DATA / "cifar_200.npz") as data:
        return data["images"][:, ::4, ::4]


@pytest.fixture(params=[None, 8 * 192 * 7], ids=["one run", "runs of seven"])
def run_bytes(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(runs, "_RUN_BYTES", request.param)


def run(x, *steps, fit=None):
    return preprocess(x, {"steps": list(steps)}, fit=fit, dtype="float64")


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12 * np.abs(wanted).max())


def test_scale_brings_bytes_to_the_unit_interval(photos):
    got = run(photos, {"type": "scale", "factor": 1 / 255})
    close(got, photos / 255)
    assert got.max() <= 1


@pytest.mark.parametrize("per", ["item", "channel"])
@pytest.mark.usefixtures("run_bytes")
def test_center(photos, per):
    close(run(photos, {"type": "center", "per": per}), naive.centred(photos, per))


@pytest.mark.parametrize("norm", ["unit", "rms"])
@pytest.mark.parametrize("per", ["item", "channel"])
@pytest.mark.parametrize("eps", [0.0, 10.0])
@pytest.mark.usefixtures("run_bytes")
def test_normalize(photos, norm, per, eps):
    step = {"type": "normalize", "norm": norm, "per": per, "eps": eps}
    close(run(photos, step), naive.normalized(photos, norm, per, eps))


def test_centred_and_normalized_by_rms_is_unit_variance(photos):
    got = run(photos, {"type": "center"}, {"type": "normalize", "norm": "rms"})
    close(got.std(axis=(1, 2, 3)), np.ones(len(photos)))


@pytest.mark.parametrize("per", ["channel", "feature"])
@pytest.mark.parametrize("eps", [0.0, 2.5])
@pytest.mark.usefixtures("run_bytes")
def test_standardize_takes_its_statistics_from_the_training_images(photos, per, eps):
    train, test = photos[:150], photos[150:]
    got = run(test, {"type": "standardize", "per": per, "eps": eps}, fit=train)
    close(got, naive.standardized(test, train, per, eps))


@pytest.mark.usefixtures("run_bytes")
def test_each_step_is_fitted_on_what_those_before_it_leave(photos):
    train, test = photos[:150], photos[150:]
    steps = (
        {"type": "center"},
        {"type": "standardize"},
        {"type": "zca", "regularization": 0.3, "center": True},
    )
    first, second = naive.centred(train), naive.centred(test)
    first, second = naive.standardized(first, first), naive.standardized(second, first)
    close(run(test, *steps, fit=train), naive.whitened(second, first, 0.3, center=True))


def test_sequences_and_vectors_have_channels_last():
    rng = np.random.default_rng(0)
    words, vectors = rng.normal(size=(9, 5, 3)), rng.normal(size=(9, 4))
    step = {"type": "standardize"}
    close(run(words, step), naive.standardized(words, words))
    close(run(vectors, step), naive.standardized(vectors, vectors, "feature"))
    close(run(words, {"type": "center", "per": "channel"}), naive.centred(words, "channel"))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("norm", ["unit", "rms"])
@pytest.mark.parametrize("per", ["item", "channel"])
def test_items_of_one_value_become_exactly_zero(dtype, norm, per):
    """0.1 has no exact mean in binary: what rounding leaves must not become a picture."""
    x = np.zeros((4, 5, 7, 3), dtype)
    x[1], x[2] = 77, 0.1
    x[3] = np.random.default_rng(0).integers(0, 255, (5, 7, 3))
    steps = [{"type": "center", "per": per}, {"type": "normalize", "norm": norm, "per": per}]
    got = run(x, {"type": "scale", "factor": 1 / 3}, *steps)
    assert (got[:3] == 0).all()
    assert np.abs(got[3]).max() > 0.01
    white = run(x, *steps, {"type": "zca"})
    assert (white[:3] == 0).all()
    assert np.isfinite(white).all()


def test_channels_and_features_that_do_not_vary_become_zero():
    x = np.random.default_rng(1).normal(size=(20, 4, 4, 3))
    x[..., 1] = 0.1
    got = run(x, {"type": "standardize"})
    assert (got[..., 1] == 0).all()
    close(got[..., 0].std(), 1.0)
    new = np.full((1, 4, 4, 3), 0.6)
    close(run(new, {"type": "standardize"}, fit=x)[..., 1], np.full((1, 4, 4), 0.5))


def test_a_large_mean_does_not_hide_small_deviations():
    x = np.random.default_rng(2).normal(loc=(1e8, 0), size=(4000, 2))
    got = run(x, {"type": "standardize"})
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(got.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-200, 1e-20, 1.0, 1e200])
def test_the_size_of_values_does_not_matter(size):
    x = np.array([[3.0, 4.0], [0.0, 0.0]]) * size
    np.testing.assert_allclose(run(x, {"type": "normalize"}), [[0.6, 0.8], [0, 0]], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["bool", "uint8", ">i4", "float16", ">f8"])
def test_any_real_dtype_and_order_is_taken(photos, dtype):
    x = np.asfortranarray((photos[:5] % 2).astype(dtype))
    before = x.copy()
    close(run(x, {"type": "center"}), naive.centred(x.astype(float)))
    np.testing.assert_array_equal(x, before)


def test_the_result_is_float32_unless_asked_otherwise(photos):
    single = preprocess(photos, "shankar2020")
    double = preprocess(photos, "shankar2020", dtype="float64")
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_a_fitted_recipe_gives_the_same_whatever_comes_with_an_item(photos):
    fitted = fit_recipe(photos[:150], "shankar2020")
    whole = fitted.apply(photos, dtype="float64")
    for item in (0, 7, 199):
        np.testing.assert_allclose(
            fitted.apply(photos[item : item + 1], dtype="float64")[0], whole[item], rtol=1e-9
        )


def test_wrong_items_are_refused_with_a_remedy(photos):
    center = {"steps": [{"type": "center"}]}
    with pytest.raises(UnsupportedDtypeError, match="not real numbers"):
        preprocess(photos * 1j, center)
    with pytest.raises(ShapeError, match="at least two axes"):
        preprocess(np.zeros(3), center)
    with pytest.raises(InvalidDataError, match="holds no items"):
        preprocess(photos[:0], center)
    with pytest.raises(InvalidDataError, match="not one array"):
        preprocess([[1, 2], [3]], center)
    bad = photos.astype(float)
    bad[11, 2, 3, 1] = np.nan
    with pytest.raises(InvalidDataError, match="item 11 holds NaN") as caught:
        preprocess(bad, center)
    assert caught.value.errors[0]["loc"] == "items[11]"
    with pytest.raises(InvalidDataError, match="item 0 is too large for float32"):
        preprocess(np.full((2, 3), 1e200), {"steps": [{"type": "scale", "factor": 2}]})
    with pytest.raises(SpecError, match=r"'float16' is not known; did you mean"):
        preprocess(photos, center, dtype="float16")
    fitted = fit_recipe(photos, center)
    with pytest.raises(ShapeError, match=r"\(4, 8, 3\).*\(8, 8, 3\)"):
        fitted.apply(photos[:, ::2])
    with pytest.raises(ShapeError, match=r"x\[..., None\]"):
        fit_recipe(photos[..., :1], center).apply(photos[..., 0])


@pytest.mark.parametrize("step", [{"type": "center"}, {"type": "normalize"}])
def test_vectors_have_no_channels_to_average_over(step):
    steps = [{"type": "scale", "factor": 2}, {**step, "per": "channel"}]
    with pytest.raises(ShapeError, match='write "per": "item"') as caught:
        preprocess(np.eye(3), {"steps": steps})
    assert [fault["loc"] for fault in caught.value.errors] == ["recipe.steps[1].per"]
