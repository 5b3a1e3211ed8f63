"""Derivatives at angles 0 and pi and at vectors of zeros: limits where they exist, else inf."""

import numpy as np
import pytest
from slopes import LENGTH, RNG, X, Y, check_against_differences, derivative_of, network, value_of

import gramserve as gs
from gramserve.spec import DERIVATIVES


def test_relu_has_all_derivatives_at_equal_and_parallel_vectors():
    spec = network({"type": "relu"}, {"type": "relu"}, b_std=0.0)
    special = np.vstack([X, -X, 3 * X])
    near = special + 1e-6 * RNG.normal(size=special.shape)
    for which in DERIVATIVES:
        found = derivative_of(spec, X, special, which)
        np.testing.assert_allclose(found, derivative_of(spec, X, near, which), atol=1e-5)
    # One relu: half of the weights' covariance is open on both sides, and it is nowhere curved.
    one = gs.parse_kernel({"layers": [{"type": "relu"}]})
    mixed = derivative_of(one, X, X, "dxdx2")[range(3), range(3)]
    np.testing.assert_allclose(mixed, np.broadcast_to(np.eye(LENGTH) / 2, mixed.shape), atol=1e-14)
    curved = derivative_of(one, X, X, "dxdx")[range(3), range(3)]
    np.testing.assert_allclose(curved, np.zeros_like(curved), atol=1e-14)
    np.testing.assert_allclose(derivative_of(one, X, -X, "dxdx2")[0, 0], 0, atol=1e-14)


@pytest.mark.parametrize("exponent", range(2, 13))
def test_nearly_equal_vectors(exponent):
    spec = network({"type": "relu"}, {"type": "relu"}, b_std=0.0)
    x = X[:1]
    away = RNG.normal(size=(1, LENGTH))
    near = x + 10.0**-exponent * away
    exact = derivative_of(spec, x, x, "dxdx2")
    # The error of the limit grows with the angle, that of rounding with one over it.
    bound = 3 * 10.0**-exponent + 1e-7
    assert np.abs(derivative_of(spec, x, near, "dxdx2") - exact).max() < bound


EVERY = ("dx", "dx2", "dxdx2", "dxdx")


@pytest.mark.parametrize(
    ("activation", "kernel", "exists"),
    [
        ({"type": "relu"}, "nngp", EVERY),
        ({"type": "relu"}, "ntk", ()),
        ({"type": "abs"}, "ntk", ()),
        ({"type": "arc_cosine", "order": 0}, "nngp", ()),
        ({"type": "arc_cosine", "order": 2}, "nngp", EVERY),
        ({"type": "arc_cosine", "order": 2}, "ntk", EVERY),
        ({"type": "erf"}, "ntk", EVERY),
        ({"type": "exp_normalized"}, "ntk", EVERY),
        ({"type": "leaky_relu", "alpha": 1.0}, "ntk", EVERY),
    ],
    ids=str,
)
def test_where_the_angle_is_zero_or_pi(activation, kernel, exists):
    spec = network(activation, kernel=kernel, b_std=0.0)
    special = np.vstack([X[:1], 2 * X[:1], -X[:1], Y[:1]])
    for which in DERIVATIVES:
        found = derivative_of(spec, X[:1], special, which)[0]
        assert np.isfinite(found[3]).all()
        if which in exists:
            assert np.isfinite(found).all()
        else:
            assert (found[:3] == np.inf).all()


ZERO = np.zeros((1, LENGTH))


@pytest.mark.parametrize(
    ("activations", "exists"),
    [
        # (x = 0, x' not), (x' = 0, x not), (both): y, it exists; n, it does not; z, it is zero as
        # the derivative of a constant, which is not the limit of other pairs.
        (["relu"], {"dx": "nyy", "dx2": "yny", "dxdx2": "nnn", "dxdx": "nyy"}),
        (["relu2"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "nyy"}),
        (["relu", "relu2"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "nyy"}),
        (["relu2", "relu2"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "yyy"}),
        (["step"], {"dx": "nzz", "dx2": "znz", "dxdx2": "nnn", "dxdx": "nzz"}),
        (["projected"], {"dx": "nzz", "dx2": "znz", "dxdx2": "nnn", "dxdx": "nzz"}),
        (["erf"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "yyy"}),
        (["relu", "erf"], {"dx": "nyy", "dx2": "yny", "dxdx2": "nnn", "dxdx": "nyy"}),
        (["skip"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "nyy"}),
        (["skip", "square"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "yyy"}),
        (["skip", "relu"], {"dx": "nyy", "dx2": "yny", "dxdx2": "nnn", "dxdx": "nyy"}),
        (["identity"], {"dx": "yyy", "dx2": "yyy", "dxdx2": "yyy", "dxdx": "yyy"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("b_std", [0.0, 0.3])
def test_vectors_of_zeros(activations, exists, b_std):
    known = {
        "relu": {"type": "relu"},
        "relu2": {"type": "arc_cosine", "order": 2},
        "step": {"type": "arc_cosine", "order": 0},
        "projected": {"type": "relu", "project": True},
        "erf": {"type": "erf"},
        "identity": {"type": "identity"},
        "square": {"type": "square"},
        "skip": {"type": "residual", "branches": [[], [{"type": "arc_cosine", "order": 2}]]},
    }
    layers = [known[name] for name in activations]
    spec = gs.parse_kernel({"layers": [*layers, {"type": "dense", "b_std": b_std}]})
    tiny = 1e-9 * RNG.normal(size=(1, LENGTH))
    for which, answers in exists.items():
        pairs = ((ZERO, Y[:1], tiny, Y[:1]), (X[:1], ZERO, X[:1], tiny), (ZERO, ZERO, tiny, -tiny))
        for answer, (x, y, near_x, near_y) in zip(answers, pairs, strict=True):
            found = derivative_of(spec, x, y, which)
            if answer == "n":
                assert (found == np.inf).all(), which
            elif answer == "z":
                assert not found.any(), which
            elif x is not y:
                near = derivative_of(spec, near_x, near_y, which)
                np.testing.assert_allclose(found, near, atol=1e-7, err_msg=which)
            else:
                assert np.isfinite(found).all(), which


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_biases_keep_vectors_of_zeros_apart_from_the_singular_point(kernel):
    spec = network({"type": "relu"}, {"type": "relu"}, kernel=kernel, b_std=0.4)
    check_against_differences(spec, np.vstack([ZERO, X[:1]]), Y)
    check_against_differences(spec, X, np.vstack([ZERO, 2 * X[:1]]))


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_a_kernel_that_is_constant_has_derivatives_of_zero(kernel):
    layers = [{"type": "arc_cosine", "order": 0}, {"type": "dense", "w_std": 0, "b_std": 1}]
    spec = gs.parse_kernel({"layers": [*layers, *layers], "kernel": kernel})
    for which in DERIVATIVES:
        assert not derivative_of(spec, np.vstack([X, ZERO]), X, which).any()


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("order", [0, 1])
def test_numbers_without_biases_are_always_parallel_and_lose_nothing(kernel, order):
    layer = {"type": "arc_cosine", "order": order, "normalized": True}
    x, y, step = np.array([[0.7]]), np.array([[0.7], [2.0], [-0.4]]), 1e-3

    def first(at):
        return derivative_of(spec, at, y, "dx")[..., 0]

    spec = network(layer, layer, kernel=kernel, b_std=0.0)
    slope = (value_of(spec, x + step, y) - value_of(spec, x - step, y)) / (2 * step)
    np.testing.assert_allclose(first(x), slope, atol=1e-10)
    curve = (first(x + step) - first(x - step)) / (2 * step)
    np.testing.assert_allclose(derivative_of(spec, x, y, "dxdx")[..., 0, 0], curve, atol=1e-10)
    assert np.isfinite(derivative_of(spec, x, y, "dxdx2")).all()
    # A bias lets them turn: the kink at equal numbers is back.
    turning = network(layer, layer, kernel="ntk", b_std=0.3)
    found = derivative_of(turning, x, y, "dx")[0, :, 0]
    assert np.isinf(found).tolist() == [True, False, False]
