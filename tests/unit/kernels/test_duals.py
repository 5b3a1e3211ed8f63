"""Duals against numerical integration over the bivariate Gaussian, and their derivatives."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special

from gramserve.kernels.duals import evaluate_dual
from gramserve.kernels.moments import Moments
from gramserve.spec import layers

WIDTH = 2.4020563531719796
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
    "cubed": (layers.ArcCosine(order=3), lambda z: max(z, 0) ** 3, lambda z: 3 * max(z, 0) ** 2),
    "fifth": (layers.ArcCosine(order=5), lambda z: max(z, 0) ** 5, lambda z: 5 * max(z, 0) ** 4),
    "sign": (layers.Sign(), lambda z: math.copysign(1, z), None),
    "heaviside": (layers.Step(), lambda z: float(z > 0), None),
    "sigmoid_like": (
        layers.SigmoidLike(), lambda z: (special.erf(z / WIDTH) + 1) / 2,
        lambda z: math.exp(-((z / WIDTH) ** 2)) / WIDTH / math.sqrt(math.pi),
    ),
    "gelu": (
        layers.Gelu(), lambda z: z * special.ndtr(z),
        lambda z: special.ndtr(z) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
    "sin": (
        layers.Sin(a=1.2, b=0.8, c=0.4), lambda z: 1.2 * math.sin(0.8 * z + 0.4),
        lambda z: 1.2 * 0.8 * math.cos(0.8 * z + 0.4),
    ),
    "cos": (
        layers.Cos(a=1.2, b=1.3, c=-0.7), lambda z: 1.2 * math.cos(1.3 * z - 0.7),
        lambda z: -1.2 * 1.3 * math.sin(1.3 * z - 0.7),
    ),
    "rbf": (
        layers.Rbf(gamma=0.6), lambda z: math.sqrt(2) * math.sin(math.sqrt(1.2) * z + math.pi / 4),
        lambda z: math.sqrt(2.4) * math.cos(math.sqrt(1.2) * z + math.pi / 4),
    ),
    "exp": (
        layers.Exp(a=0.9, b=0.6), lambda z: 0.9 * math.exp(0.6 * z),
        lambda z: 0.54 * math.exp(0.6 * z),
    ),
    "gaussian": (
        layers.Gaussian(a=1.1, b=-0.6), lambda z: 1.1 * math.exp(-0.6 * z * z),
        lambda z: -1.32 * z * math.exp(-0.6 * z * z),
    ),
    "well": (
        layers.Gaussian(a=1.1, b=0.1), lambda z: 1.1 * math.exp(0.1 * z * z),
        lambda z: 0.22 * z * math.exp(0.1 * z * z),
    ),
    "gabor": (
        layers.Gabor(), lambda z: math.exp(-z * z) * math.sin(z),
        lambda z: math.exp(-z * z) * (math.cos(z) - 2 * z * math.sin(z)),
    ),
    "monomial": (layers.Monomial(degree=5), lambda z: z**5, lambda z: 5 * z**4),
    "constant": (layers.Monomial(degree=0), lambda z: 1.0, lambda z: 0.0),
    "polynomial": (
        layers.Polynomial(coefficients=[0.5, 1, -0.2, 0.1]),
        lambda z: 0.5 + z - 0.2 * z * z + 0.1 * z**3, lambda z: 1 - 0.4 * z + 0.3 * z * z,
    ),
    "hermite": (
        layers.Hermite(degree=4), lambda z: (z**4 - 6 * z * z + 3) / math.sqrt(24),
        lambda z: (4 * z**3 - 12 * z) / math.sqrt(24),
    ),
    "softplus": (
        layers.Numeric(function="softplus", degree=80), lambda z: math.log1p(math.exp(z)),
        lambda z: 1 / (1 + math.exp(-z)),
    ),
    "tanh": (
        layers.Numeric(function="tanh", degree=400), math.tanh, lambda z: 1 / math.cosh(z) ** 2,
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
    layers.Square(), layers.ArcCosine(order=4), layers.SigmoidLike(), layers.Gelu(),
    layers.Sin(c=0.3), layers.Cos(a=2.0, b=0.5, c=0.1), layers.Rbf(gamma=0.7), layers.Exp(b=0.5),
    layers.Gaussian(b=-0.8), layers.Gaussian(b=0.05), layers.Gabor(), layers.Monomial(degree=3),
    layers.Polynomial(coefficients=[1, 0.5, 0.2]), layers.Hermite(degree=3),
    layers.Numeric(function="softplus"), layers.LayerNorm(axes="channels", eps=0.1),
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


def test_arc_cosine_of_any_order_stays_right_up_to_the_highest():
    """At angle 0 the dual is half a moment of the Gaussian, (2m - 1)!! / 2; at pi it is 0."""
    q = np.ones(2)
    for order in range(3, 65):
        value, derivative = evaluate_dual(
            layers.ArcCosine(order=order), Moments(np.array([1.0, -1.0]), q, q), slope=True
        )
        half = math.prod(range(1, 2 * order, 2)) / 2
        assert value == pytest.approx([half, 0], rel=1e-12, abs=1e-12 * half)
        assert derivative[0] == pytest.approx(order**2 * half / (2 * order - 1), rel=1e-12)


@pytest.mark.parametrize("degree", [2, 7, 64])
def test_hermite_polynomials_are_orthonormal_at_variance_one(degree):
    c = np.linspace(-1, 1, 9)
    value, _ = evaluate_dual(
        layers.Hermite(degree=degree), Moments(c, *np.ones((2, 9))), slope=False
    )
    assert value == pytest.approx(c**degree, abs=1e-14)


@pytest.mark.parametrize("size", [1e-36, 1e-18, 1e18, 1e36])
@pytest.mark.parametrize(
    "layer",
    [
        layers.Erf(), layers.SigmoidLike(), layers.Sin(), layers.Cos(), layers.Rbf(),
        layers.Gaussian(), layers.Gabor(), layers.Sign(), layers.Step(), layers.Relu(),
        layers.Gelu(), layers.Abs(), layers.ExpNormalized(), layers.Power(degree=3),
        layers.LayerNorm(axes="channels"),
    ],
    ids=lambda layer: layer.type,
)  # fmt: skip
def test_bounded_and_homogeneous_duals_are_finite_for_any_variance(layer, size):
    cosine = np.array([1, 1, 0.3, 0, -0.5, -1, -1])
    q = np.full(7, size)
    with np.errstate(under="ignore"):
        value, derivative = evaluate_dual(layer, Moments(cosine * q, q, q), slope=True)
    assert np.isfinite(value).all()
    assert np.isfinite(derivative).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_images_keep_their_digits_in_a_sine(dtype):
    """Close to 0 a sine is linear; the two exponentials of the textbook formula would cancel."""
    q = np.full(5, 1e-6, dtype)
    c = np.linspace(-1, 1, 5).astype(dtype)
    value, _ = evaluate_dual(layers.Sin(), Moments(c * q, q, q), slope=False)
    assert value == pytest.approx(c * q, rel=3e-6)


def test_an_exponential_well_that_is_too_wide_has_no_expectation():
    layer = layers.Gaussian(b=0.5)
    with np.errstate(invalid="ignore"):
        value, _ = evaluate_dual(
            layer, Moments(np.array([0.9, 3.0]), *np.full((2, 2), 3.0)), slope=False
        )
    assert np.isnan(value).all()


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
