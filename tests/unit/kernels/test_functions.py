"""Named functions: slopes, limits, dtypes, and the mean at kinks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gramserve.errors import SpecError
from gramserve.kernels.functions import FUNCTIONS, KINKS, function_named
from gramserve.spec.functions import FUNCTIONS as SPEC_NAMES

NAMES = sorted(FUNCTIONS)

# sign at -infinity, at infinity: what phi(z) / max(|z|, 1) and phi'(z) tend to.
GROWTH = {
    "identity": (-1, 1), "relu": (0, 1), "silu": (0, 1), "swish": (0, 1), "gelu": (0, 1),
    "elu": (0, 1), "celu": (0, 1), "softplus": (0, 1), "mish": (0, 1), "hard_swish": (0, 1),
    "selu": (0, 1.0507009873554805), "log_sigmoid": (-1, 0),
}  # fmt: skip


def _grid(name: str, distance: float) -> NDArray[np.float64]:
    """Return points from -8 to 8, away from the kinks."""
    z = np.linspace(-8, 8, 401) + 1e-3
    kinks = np.array(KINKS.get(name, ()))
    return z[(np.abs(z[:, None] - kinks) > distance).all(axis=1)]


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_slope(name: str) -> None:
    phi, dphi = FUNCTIONS[name]
    z, step = _grid(name, 1e-3), 1e-5
    slope = (phi(z + step) - phi(z - step)) / (2 * step)
    np.testing.assert_allclose(dphi(z), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_at_a_kink_the_derivative_is_the_mean_of_both_sides(name: str) -> None:
    _, dphi = FUNCTIONS[name]
    for kink in KINKS.get(name, ()):
        below, at, above = dphi(np.array([kink - 1e-12, kink, kink + 1e-12]))
        assert abs(above - below) > 0.1
        assert at == pytest.approx((below + above) / 2, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_stays_finite_far_away(name: str, dtype: type) -> None:
    phi, dphi = FUNCTIONS[name]
    z = np.array([-1e18, -1e9, -1e3, -90.0, 0.0, 90.0, 1e3, 1e9, 1e18], dtype)
    for function in (phi, dphi):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            values = function(z)
        assert values.dtype == dtype
        assert np.isfinite(values).all()
    if name not in ("sin", "cos"):
        low, high = GROWTH.get(name, (0, 0))
        assert phi(z)[[0, -1]] / 1e18 == pytest.approx([low, high], rel=1e-6, abs=1e-17)
        assert dphi(z)[[0, -1]] == pytest.approx([-low, high] if low else [0, high], abs=1e-30)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name: str) -> None:
    for function in FUNCTIONS[name]:
        z = _grid(name, 1e-3).astype(np.float32)
        exact = function(z.astype(np.float64))
        np.testing.assert_allclose(function(z), exact, rtol=2e-5, atol=3e-7)


@pytest.mark.parametrize("name", NAMES)
def test_leaves_its_argument_alone_and_passes_nan_on(name: str) -> None:
    z = np.array([-1.5, 0.25, 2.0, np.nan])
    before = z.copy()
    for function in FUNCTIONS[name]:
        result = function(z)
        assert not np.shares_memory(result, z)
        np.testing.assert_array_equal(z, before)
    assert np.isnan(FUNCTIONS[name].phi(z)[-1])


def test_values_that_are_known() -> None:
    z = np.array([1.0])
    known = {
        "softplus": np.log1p(np.e), "gelu": 0.8413447460685429, "mish": 0.8650983882673103,
        "silu": 0.7310585786300049, "softsign": 0.5, "arctan": np.pi / 4, "erf": 0.8427007929497149,
        "hard_sigmoid": 2 / 3, "log_sigmoid": -0.31326168751822286,
    }  # fmt: skip
    for name, value in known.items():
        assert FUNCTIONS[name].phi(z)[0] == pytest.approx(value, rel=1e-14)
    assert FUNCTIONS["elu"].phi(-z)[0] == pytest.approx(np.expm1(-1), rel=1e-14)
    assert FUNCTIONS["selu"].phi(-z)[0] == pytest.approx(-1.1113307378125625, rel=1e-14)


def test_unknown_name_proposes_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown function 'sofplus'.*softplus"):
        function_named("sofplus")


def test_the_spec_language_has_these_names_and_no_others():
    assert tuple(NAMES) == SPEC_NAMES
