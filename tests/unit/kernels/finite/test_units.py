"""Layers without weights: pullbacks against finite differences, functions against definitions."""

import math

import numpy as np
import pytest
from scipy import special

from gramserve.kernels.finite.activations import activation_of
from gramserve.kernels.finite.units import plain_unit
from gramserve.kernels.functions import FUNCTIONS
from gramserve.spec import layers, parse_kernel
from gramserve.spec.finite import LINEAR, POINTWISE
from gramserve.stages import lay_out

RELU = FUNCTIONS["relu"].phi

DEFINITIONS = {
    layers.Relu(): RELU,
    layers.Relu(normalized=True): lambda z: math.sqrt(2) * RELU(z),
    layers.LeakyRelu(alpha=0.2): lambda z: np.where(z > 0, z, 0.2 * z),
    layers.AbRelu(a=-0.5, b=2): lambda z: np.where(z > 0, 2 * z, -0.5 * z),
    layers.Abs(): np.abs,
    layers.ArcCosine(order=0): lambda z: (z > 0).astype(float),
    layers.ArcCosine(order=1): RELU,
    layers.ArcCosine(order=3, normalized=True): lambda z: math.sqrt(2) * RELU(z) ** 3,
    layers.Erf(a=1.3, b=0.7, c=0.2): lambda z: 1.3 * special.erf(0.7 * z) + 0.2,
    layers.SigmoidLike(): lambda z: (special.erf(z / 2.4020563531719796) + 1) / 2,
    layers.Gelu(): lambda z: z * special.ndtr(z),
    layers.Sign(): np.sign,
    layers.Step(): lambda z: (z > 0).astype(float),
    layers.Sin(a=1.2, b=0.5, c=0.3): lambda z: 1.2 * np.sin(0.5 * z + 0.3),
    layers.Cos(a=1.2, b=0.5, c=0.3): lambda z: 1.2 * np.cos(0.5 * z + 0.3),
    layers.Rbf(gamma=0.6): lambda z: math.sqrt(2) * np.sin(math.sqrt(1.2) * z + math.pi / 4),
    layers.Exp(a=0.8, b=-0.4): lambda z: 0.8 * np.exp(-0.4 * z),
    layers.Gaussian(a=1.1, b=-0.3): lambda z: 1.1 * np.exp(-0.3 * z**2),
    layers.Gabor(): lambda z: np.exp(-(z**2)) * np.sin(z),
    layers.Monomial(degree=3): lambda z: z**3,
    layers.Monomial(degree=0): np.ones_like,
    layers.Polynomial(coefficients=(0.5, -1, 0.25)): lambda z: 0.5 - z + 0.25 * z**2,
    layers.Polynomial(coefficients=(2,)): lambda z: np.full_like(z, 2),
    layers.Hermite(degree=4): lambda z: special.eval_hermitenorm(4, z) / math.sqrt(24),
    layers.Hermite(degree=0): np.ones_like,
    layers.Numeric(function="softplus"): lambda z: np.log1p(np.exp(z)),
}


def away_from_zero(shape, seed=0):
    """Random numbers at which no activation has a kink."""
    z = np.random.default_rng(seed).standard_normal(shape)
    return z + 0.05 * np.sign(z)


def test_every_activation_is_here():
    assert {type(layer) for layer in DEFINITIONS} == set(POINTWISE)


@pytest.mark.parametrize("layer", DEFINITIONS, ids=lambda layer: layer.type)
def test_functions_are_what_the_spec_says(layer):
    z = away_from_zero(200)
    before = z.copy()
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        values = activation_of(layer).phi(z.astype(dtype))
        assert values.dtype == dtype
        np.testing.assert_allclose(values, DEFINITIONS[layer](z), rtol=tolerance, atol=tolerance)
        assert activation_of(layer).dphi(z.astype(dtype)).dtype == dtype
    np.testing.assert_array_equal(z, before)


def test_at_zero_steps_count_half_as_the_dual_of_a_zero_patch_does():
    zero = np.zeros(1)
    assert activation_of(layers.Step()).phi(zero) == 0.5
    assert activation_of(layers.Relu()).dphi(zero) == 0.5
    assert activation_of(layers.Abs()).dphi(zero) == 0
    assert activation_of(layers.AbRelu(a=1, b=3)).dphi(zero) == 2


PLAIN = [
    *DEFINITIONS,
    layers.Identity(),
    layers.Linear(factor=2.5),
    layers.AvgPool(window=2),
    layers.AvgPool(window=3, strides=2, padding="same"),
    layers.AvgPool(window=3, strides=2, padding="same", normalize_edges=True),
    layers.SumPool(window=(1, 2), strides=1),
    layers.SumPool(window=3, strides=2, padding="same", normalize_edges=True),
    *(layers.CknPool(kind=kind, subsampling=2) for kind in ("gaussian", "average", "strided")),
    layers.GlobalAvgPool(),
    layers.GlobalSumPool(),
    layers.Flatten(),
    layers.Flatten(average=False),
    layers.LayerNorm(axes="channels", eps=0.1),
    layers.LayerNorm(axes="all"),
]


def unit_of(layer, positions):
    """The unit of a layer behind a convolution with three channels."""
    conv = layers.Conv(size=1)
    after = [] if layer.type in ("flatten", "global_avg_pool", "global_sum_pool") else ["flatten"]
    network = [conv, layer, *({"type": name} for name in after)]
    spec = parse_kernel({"layers": network, "finite": {"width": 3}})
    return plain_unit(lay_out(spec, (*positions, 2)).nodes[1])


def test_every_layer_without_weights_is_here():
    assert {type(layer) for layer in PLAIN} == {*POINTWISE, *LINEAR, layers.LayerNorm}


@pytest.mark.parametrize("layer", PLAIN, ids=lambda layer: layer.type)
def test_pullbacks_agree_with_finite_differences(layer):
    unit = unit_of(layer, (6, 5))
    units, step = away_from_zero((2, 6, 5, 3)), 1e-6
    direction = np.random.default_rng(1).standard_normal(units.shape)
    slope = (unit.forward(units + step * direction) - unit.forward(units - step * direction)) / (
        2 * step
    )
    vectors = np.random.default_rng(2).standard_normal((2, 4, *slope.shape[1:]))
    pulled = unit.pull(vectors, units if unit.keeps_input else None)
    assert pulled.shape == (2, 4, 6, 5, 3)
    for item in range(2):
        for output in range(4):
            found = np.vdot(pulled[item, output], direction[item])
            expected = np.vdot(vectors[item, output], slope[item])
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_pools_are_window_sums_and_means():
    units = np.arange(8.0).reshape(1, 8, 1, 1)
    mean = layers.AvgPool(window=(3, 1), strides=(2, 1), padding="same")
    assert unit_of(mean, (8, 1)).forward(units).ravel().tolist() == pytest.approx(
        [(0 + 1 + 2) / 3, (2 + 3 + 4) / 3, (4 + 5 + 6) / 3, (6 + 7) / 3]
    )
    edges = layers.AvgPool(window=(3, 1), strides=(2, 1), padding="same", normalize_edges=True)
    assert unit_of(edges, (8, 1)).forward(units).ravel()[-1] == pytest.approx(6.5)
    picked = layers.CknPool(kind="strided", subsampling=2)
    spread = np.arange(64.0).reshape(1, 8, 8, 1)
    assert unit_of(picked, (8, 8)).forward(spread)[0, :, :, 0].tolist() == [
        [18, 20, 22], [34, 36, 38], [50, 52, 54]
    ]  # fmt: skip


def test_layer_norm_has_mean_0_and_variance_1():
    units = away_from_zero((3, 4, 4, 50))
    for axes, over in (("channels", (3,)), ("all", (1, 2, 3))):
        result = unit_of(layers.LayerNorm(axes=axes), (4, 4)).forward(units)
        np.testing.assert_allclose(result.mean(axis=over), 0, atol=1e-12)
        np.testing.assert_allclose(result.var(axis=over), 1, rtol=1e-9)
