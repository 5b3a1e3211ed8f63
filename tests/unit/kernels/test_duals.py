"""Duals against numerical integration over the bivariate Gaussian, and their derivatives."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special

from gramserve.kernels.duals import evaluate_dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

ACTIVATIONS = {
    "relu": (layers.Relu(), lambda z: max(z, 0), lambda z: float(z > 0)),
    "leaky": (
        layers.LeakyRelu(alpha=0.2), lambda z: max(z, 0.2 * z), lambda z: 1 if z > 0 else 0.2,
    ),
    "abrelu": (
        layers.AbRelu(a=-0.3, b=1.4),
        lambda z: 1.4 * z if z > 0 else -0.3 * z,
        lambda z: 1.4 if z > 0 else -0.3,
    ),
    "abs": (layers.Abs(), abs, lambda z: math.copysign(1, z)),
    "step": (layers.ArcCosine(order=0), lambda z: float(z > 0), None),
    "relu again": (layers.ArcCosine(order=1), lambda z: max(z, 0), lambda z: float(z > 0)),
    "requ": (layers.ArcCosine(order=2), lambda z: max(z, 0) ** 2, lambda z: 2 * max(z, 0)),
    "erf": (
        layers.Erf(a=1.3, b=0.7, c=0.2),
        lambda z: 1.3 * special.erf(0.7 * z) + 0.2,
        lambda z: 1.3 * 0.7 * 2 / math.sqrt(math.pi) * math.exp(-((0.7 * z) ** 2)),
    ),
}  # fmt: skip
CASES = [(0.3, 1.0, 1.0), (-0.7, 1.5, 0.8), (0.9, 1.0, 0.9), (0.0, 2.0, 0.5)]


def moments(s, q, r):
    return Moments(np.array([s]), np.array([q]), np.array([r]))


def expectation(phi, s, q, r):
    """E[phi(u) phi(v)]: v given u is Gaussian; integrate over polar angle and radius by kinks."""
    chol = np.linalg.cholesky([[q, s], [s, r]])

    def over_radius(th):
        a, b = chol @ [math.cos(th), math.sin(th)]
        return integrate.quad(
            lambda t: phi(t * a) * phi(t * b) * t * math.exp(-t * t / 2), 0, 12, epsabs=1e-12
        )[0]

    # Where u or v changes sign the integrand has a kink: integrate from kink to kink.
    u0 = math.pi / 2
    v0 = math.atan2(-chol[1, 0], chol[1, 1])
    ends = sorted({x % (2 * math.pi) for x in (u0, u0 + math.pi, v0, v0 + math.pi)})
    ends.append(ends[0] + 2 * math.pi)
    total = sum(
        integrate.quad(over_radius, low, high, epsabs=1e-11, epsrel=1e-11)[0]
        for low, high in itertools.pairwise(ends)
    )
    return total / (2 * math.pi)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dual_is_the_gaussian_expectation(name, case):
    layer, phi, slope = ACTIVATIONS[name]
    value, derivative = evaluate_dual(layer, moments(*case), slope=True)
    assert value[0] == pytest.approx(expectation(phi, *case), abs=1e-8)
    if slope is not None:
        assert derivative[0] == pytest.approx(expectation(slope, *case), abs=1e-8)


SMOOTH = [
    layers.Relu(normalized=True), layers.LeakyRelu(alpha=0.3), layers.AbRelu(a=0.2, b=2.0),
    layers.Abs(), layers.ArcCosine(order=1, normalized=True), layers.ArcCosine(order=2),
    layers.Erf(a=2.0, b=1.5, c=1.0), layers.ExpNormalized(gamma=2.4), layers.Power(degree=3),
    layers.Square(),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layer", SMOOTH, ids=repr)
def test_derivative_dual_is_the_derivative_by_the_covariance(layer, case):
    """Price's theorem: d/dS E[phi phi] = E[phi' phi']."""
    s, q, r = case
    step = 1e-6
    above, _ = evaluate_dual(layer, moments(s + step, q, r), slope=False)
    below, _ = evaluate_dual(layer, moments(s - step, q, r), slope=False)
    _, derivative = evaluate_dual(layer, moments(*case), slope=True)
    assert derivative[0] == pytest.approx((above[0] - below[0]) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_normalized_arc_cosine_is_twice_the_expectation(order):
    plain, _ = evaluate_dual(layers.ArcCosine(order=order), moments(0.3, 1.2, 0.7), slope=False)
    twice, _ = evaluate_dual(
        layers.ArcCosine(order=order, normalized=True), moments(0.3, 1.2, 0.7), slope=False
    )
    assert twice[0] == pytest.approx(2 * plain[0], rel=1e-15)


def test_normalized_relu_keeps_the_variance():
    value, derivative = evaluate_dual(
        layers.Relu(normalized=True), moments(4.0, 4.0, 4.0), slope=True
    )
    assert value[0] == pytest.approx(4.0, rel=1e-15)
    assert derivative[0] == pytest.approx(1.0, rel=1e-15)


def test_zero_patches_have_a_right_angle():
    value, derivative = evaluate_dual(layers.Relu(), moments(0.0, 0.0, 3.0), slope=True)
    assert value[0] == 0
    assert derivative[0] == pytest.approx(0.25)


def test_opposite_patches_are_finite():
    value, derivative = evaluate_dual(
        layers.Relu(normalized=True), moments(-2.0, 2.0, 2.0), slope=True
    )
    assert value[0] == pytest.approx(0, abs=1e-15)
    assert derivative[0] == pytest.approx(0, abs=1e-15)


def test_projection_divides_by_the_norm_and_gives_zero_where_there_is_none():
    layer = layers.Relu(normalized=True, project=True)
    value, derivative = evaluate_dual(
        layer,
        Moments(np.array([4.0, 0.0]), np.array([4.0, 0.0]), np.array([4.0, 2.0])),
        slope=True,
    )
    assert value == pytest.approx([1.0, 0.0])
    assert derivative == pytest.approx([0.25, 0.0])


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_homogeneous_duals_stand_extreme_variances(scale):
    value, _ = evaluate_dual(layers.Relu(normalized=True), moments(scale, scale, scale), slope=True)
    assert value[0] == pytest.approx(scale, rel=1e-15)


@pytest.mark.parametrize("variance", [1e0, 1e4, 1e8, 1e18, 1e37])
def test_erf_keeps_its_digits_for_large_variances(variance):
    """The difference of squares in the textbook formula would cancel, and then overflow."""
    cosine = np.linspace(-0.9, 0.9, 7)
    layer = layers.Erf(a=1.5)
    values = {}
    for dtype in (np.float32, np.float64):
        q = np.full(7, variance, dtype)
        values[dtype] = evaluate_dual(layer, Moments((cosine * q).astype(dtype), q, q), slope=True)
    for single, double in zip(values[np.float32], values[np.float64], strict=True):
        assert single.dtype == np.float32
        assert np.abs(single - double).max() < 1e-6 * np.abs(double).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "layer",
    [*SMOOTH, layers.ArcCosine(order=0), layers.Relu(project=True), layers.Power(degree=0)],
    ids=lambda layer: layer.type,
)
def test_duals_change_no_input_and_keep_the_dtype(layer, dtype):
    arrays = [np.array([0.3, -0.2], dtype), np.array([1.0, 0.5], dtype), np.array([0.7, 2], dtype)]
    kept = [array.copy() for array in arrays]
    value, derivative = evaluate_dual(layer, Moments(*arrays), slope=True)
    alone, nothing = evaluate_dual(layer, Moments(*arrays), slope=False)
    assert nothing is None
    assert np.array_equal(alone, value)
    assert value.dtype == derivative.dtype == dtype
    assert all(np.array_equal(array, before) for array, before in zip(arrays, kept, strict=True))


def test_the_place_that_meets_itself_has_cosine_one_whatever_the_rounding():
    q = np.array([3.0, 0.0, 1e-30], np.float32)
    moments = Moments(q * np.float32(1 - 1e-6), q, q, same=...)
    assert moments.cosine.tolist() == [1, 0, 1]
