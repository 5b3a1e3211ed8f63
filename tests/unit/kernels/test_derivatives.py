"""Derivatives of kernels of vectors: finite differences, expectations, identities."""

import tracemalloc

import numpy as np
import pytest
from slopes import X, Y, check_against_differences, derivative_of, named, network, value_of

import gramserve as gs
from gramserve.derivative import compute_derivative
from gramserve.kernels import Directions, differentiate_kernel, pair_bytes
from gramserve.spec import DERIVATIVES

ACTIVATIONS = [
    {"type": "relu"},
    {"type": "relu", "normalized": True, "project": True},
    {"type": "leaky_relu", "alpha": 0.2},
    {"type": "abrelu", "a": 0.3, "b": 1.1},
    {"type": "abrelu", "a": 0.6, "b": 0.6},
    {"type": "abs"},
    {"type": "arc_cosine", "order": 0},
    {"type": "arc_cosine", "order": 1, "normalized": True},
    {"type": "arc_cosine", "order": 2},
    {"type": "arc_cosine", "order": 2, "project": True},
    {"type": "erf", "a": 1.2, "b": 0.7, "c": 0.3},
    {"type": "exp_normalized", "gamma": 0.8},
    {"type": "exp_normalized", "project": True},
    {"type": "power", "degree": 1},
    {"type": "power", "degree": 3},
    {"type": "power", "degree": 2, "project": True},
    {"type": "square"},
    {"type": "linear", "factor": 0.7},
    {"type": "identity"},
]
# No engine runs these yet: their duals are compared with a quadrature below.
NO_ENGINE = [
    {"type": "sin", "a": 1.1, "b": 0.7, "c": 0.4},
    {"type": "cos", "a": 0.9, "b": 0.6, "c": 0.2},
    {"type": "rbf", "gamma": 0.3},
    {"type": "exp", "a": 0.8, "b": 0.5},
    {"type": "gaussian", "a": 1.3, "b": -0.4},
]


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("activation", ACTIVATIONS + NO_ENGINE, ids=named)
def test_derivatives_are_the_slopes_of_the_kernel(activation, kernel):
    spec = network(activation, activation, kernel=kernel)
    check_against_differences(spec)
    if activation not in NO_ENGINE:
        exact = gs.compute_gram(X, Y, kernel=spec, precision="float64", engine="reference")
        np.testing.assert_allclose(value_of(spec, X, Y), exact, rtol=1e-13)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_deep_networks_of_random_layers_and_branches(kernel):
    generator = np.random.default_rng(5)
    for _ in range(6):
        depth = generator.integers(2, 6)
        chosen = [ACTIVATIONS[i] for i in generator.integers(len(ACTIVATIONS), size=depth)]
        spec = network(*chosen, kernel=kernel, b_std=generator.choice([0.0, 0.4]))
        check_against_differences(spec, tolerance=1e-8)
    branched = {
        "layers": [
            {"type": "dense", "b_std": 0.2},
            {"type": "residual", "branches": [[{"type": "relu"}, {"type": "dense"}], []]},
            {"type": "concat", "branches": [[{"type": "erf"}], [{"type": "relu"}]]},
            {"type": "dense", "trainable": False},
        ],
        "kernel": kernel,
    }
    spec = gs.parse_kernel(branched)
    check_against_differences(spec)
    exact = gs.compute_gram(X, Y, kernel=spec, precision="float64", engine="reference")
    np.testing.assert_allclose(value_of(spec, X, Y), exact, rtol=1e-13)


@pytest.mark.parametrize("activation", NO_ENGINE, ids=named)
def test_duals_that_no_engine_has_are_expectations(activation):
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    grid, product = np.meshgrid(nodes, nodes), np.outer(weights, weights) / (2 * np.pi)
    x, y = X[:1] / 2, Y[:1] / 2
    root = np.linalg.cholesky(np.vstack([x, y]) @ np.vstack([x, y]).T)
    u, v = root[0, 0] * grid[0], root[1, 0] * grid[0] + root[1, 1] * grid[1]
    layer = dict(activation)
    match layer.pop("type"):
        case "sin" | "cos" as wave:
            phi = lambda z: layer["a"] * getattr(np, wave)(layer["b"] * z + layer["c"])  # noqa: E731
        case "rbf":
            phi = lambda z: np.sqrt(2) * np.sin(np.sqrt(0.6) * z + np.pi / 4)  # noqa: E731
        case "exp":
            phi = lambda z: layer["a"] * np.exp(layer["b"] * z)  # noqa: E731
        case _:
            phi = lambda z: layer["a"] * np.exp(layer["b"] * z * z)  # noqa: E731
    spec = gs.parse_kernel({"layers": [activation]})
    assert value_of(spec, x, y) == pytest.approx((phi(u) * phi(v) * product).sum(), rel=1e-9)


HOMOGENEOUS = [
    {"type": "relu"},
    {"type": "leaky_relu", "alpha": -0.3},
    {"type": "abs"},
    {"type": "exp_normalized"},
    {"type": "power", "degree": 3},
]


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", HOMOGENEOUS, ids=named)
def test_eulers_identities_of_absolutely_homogeneous_networks(activation, depth):
    spec = network(*[activation] * depth, b_std=0.0)
    both = np.vstack([X, Y])  # holds pairs of an item with itself
    value = value_of(spec, both, both)
    along = Directions(both, both)
    twice = differentiate_kernel(spec, both, both, "dxdx2", "nngp", along=along)
    np.testing.assert_allclose(twice, value, rtol=1e-12)
    rows = Directions(both)
    once = differentiate_kernel(spec, both, both, "dx", "nngp", along=rows)
    np.testing.assert_allclose(once, value, rtol=1e-12)
    curvature = differentiate_kernel(spec, both, both, "dxdx", "nngp", along=rows)
    np.testing.assert_allclose(curvature, np.zeros_like(value), atol=1e-11)


@pytest.mark.parametrize("which", DERIVATIVES)
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_symmetries(which, kernel):
    spec = network({"type": "erf"}, {"type": "relu"}, kernel=kernel)
    found = derivative_of(spec, X, Y, which)
    match which:
        case "dx" | "dx2":
            other = "dx2" if which == "dx" else "dx"
            mirrored = derivative_of(spec, Y, X, other).transpose(1, 0, 2)
        case "dxdx2":
            mirrored = derivative_of(spec, Y, X, which).transpose(1, 0, 3, 2)
        case _:
            mirrored = found.transpose(0, 1, 3, 2)
    np.testing.assert_allclose(found, mirrored, rtol=1e-12, atol=1e-15)


def test_the_mixed_derivative_is_the_covariance_of_gradients():
    generator, width, count = np.random.default_rng(3), 200, 2000
    points = np.array([[1.0, 0.2], [0.5, -0.9]])
    gradients = np.empty((count, 2, 2))
    for draw in range(count):
        first = generator.normal(size=(width, 2))
        second = generator.normal(size=(width, width)) / np.sqrt(width)
        last = generator.normal(size=width) / np.sqrt(width)
        for place, x in enumerate(points):
            hidden = first @ x
            open_last = last * (second @ np.maximum(hidden, 0) > 0)
            gradients[draw, place] = ((open_last @ second) * (hidden > 0)) @ first
    sampled = np.einsum("dia,djb->ijab", gradients, gradients) / count
    exact = compute_derivative(
        points, kernel={"preset": "fc", "depth": 2, "w_std": 1.0}, derivative="dxdx2"
    )
    np.testing.assert_allclose(sampled, exact, atol=0.04)


@pytest.mark.parametrize("length", [1, 60])
@pytest.mark.parametrize("which", DERIVATIVES)
def test_memory_stays_below_what_is_promised(which, length):
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(20, length)), generator.normal(size=(60, length))
    skip = {"type": "residual", "branches": [[{"type": "relu"}, {"type": "dense"}], []]}
    spec = network({"type": "erf"}, skip, {"type": "relu"}, kernel="ntk")
    tracemalloc.start()
    try:
        differentiate_kernel(spec, x, y, which, "ntk")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 60 * pair_bytes(which, length) + 2**16
