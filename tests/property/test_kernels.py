"""Random networks against the naive oracle, and what every kernel must satisfy."""

import math

import naive
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import count_steps, networks

from gramserve.compute import compute_gram
from gramserve.kernels import ReferenceEngine
from gramserve.kernels.variances import variance_places
from gramserve.spec import input_positions

# Low degrees on purpose: what they are is defined, whether or not they have converged.
pytestmark = pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")

slow = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def draw_items(seed, count, shape):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def relative(found, wanted, scale=0.0):
    """Largest error over the largest value, or over a scale that does not cancel."""
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), scale, 1e-300)


def tolerance(name, spec):
    """What an ulp of the cosine may cost: its square root at every infinite slope.

    Items of one channel are parallel or opposite everywhere, so these angles are drawn often.
    Derivative duals of the NTK are one more of them.
    """
    slopes = count_steps(spec.layers) + (name == "ntk")
    return (1e-10, 1e-7, 1e-3)[slopes] if slopes < 3 else np.inf


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_any_network_agrees_with_the_naive_oracle(network, seed):
    spec, shape = network
    x, y = draw_items(seed, 2, shape), draw_items(seed + 1, 1, shape)
    found = compute_gram(x, y, kernel=spec, precision="float64")
    wanted = naive.naive_gram(spec.canonical(), x, y)
    selves = [naive.naive_pair(spec.canonical(), item, item) for item in (*x, *y)]
    for index, (name, gram) in enumerate(found.items()):
        # Opposite items have k = 0 up to rounding: errors are measured against k(x, x).
        scale = max(abs(pair[index]) for pair in selves)
        assert relative(gram, wanted[name], scale) < tolerance(name, spec)


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_gram_matrices_are_symmetric_and_positive_semidefinite(network, seed):
    spec, shape = network
    x = draw_items(seed, 5, shape)
    for name, gram in compute_gram(x, kernel=spec, precision="float64").items():
        assert np.array_equal(gram, gram.T)
        scale = max(np.abs(gram).max(), 1e-300)
        assert np.linalg.eigvalsh(gram).min() >= -tolerance(name, spec) * scale * len(gram)


@slow
@given(networks(), st.integers(0, 2**32 - 1), st.permutations(range(4)))
def test_permuting_the_items_permutes_the_matrix(network, seed, order):
    spec, shape = network
    x, order = draw_items(seed, 4, shape), np.array(order)
    straight = compute_gram(x, kernel=spec, precision="float64")
    shuffled = compute_gram(x[order], kernel=spec, precision="float64")
    for name, gram in straight.items():
        assert relative(shuffled[name], gram[np.ix_(order, order)]) < tolerance(name, spec)


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_symmetric_and_cross_matrices_agree(network, seed):
    spec, shape = network
    x = draw_items(seed, 4, shape)
    whole = compute_gram(x, kernel=spec, precision="float64")
    cross = compute_gram(x, x[1:3], kernel=spec, precision="float64")
    for name, gram in whole.items():
        assert relative(cross[name], gram[:, 1:3]) < tolerance(name, spec)


@pytest.mark.parametrize("precision", ["float32", "mixed", "float64"])
@pytest.mark.parametrize("preset", ["myrtle5", "myrtle5_exp", "cntk", "fc"])
def test_awkward_images_give_finite_and_right_values(preset, precision):
    """Zero, opposite, duplicate, scaled and nearly equal items."""
    shape = (6,) if preset == "fc" else (8, 8, 3)
    options = {"depth": 3} if preset in ("cntk", "fc") else {}
    base = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    x = np.stack([base, base, -base, 3 * base, 0 * base, base + 1e-6, np.ones(shape, np.float32)])
    kernel = {"preset": preset, "kernel": ["nngp", "ntk"], **options}
    found = compute_gram(x, kernel=kernel, precision=precision)
    exact = compute_gram(x.astype(np.float64), kernel=kernel, precision="float64")
    for name, gram in found.items():
        assert np.isfinite(gram).all()
        assert np.array_equal(gram, gram.T)
        assert gram[0, 1] == gram[0, 0] == gram[1, 1]
        assert relative(gram, exact[name]) < 5e-4
        assert relative(np.diag(gram), np.diag(exact[name])) < 5e-6


def test_float32_ntk_diagonal_is_exact_where_an_image_meets_itself():
    x = np.random.default_rng(2).normal(size=(6, 8, 8, 3)).astype(np.float32)
    kernel = {"preset": "cntk", "depth": 6, "gap": False}
    single = compute_gram(x, kernel=kernel)
    double = compute_gram(x, kernel=kernel, precision="float64")
    assert relative(np.diag(single), np.diag(double)) < 5e-6
    assert relative(single, double) < 5e-6


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_variances_are_the_self_kernels_of_the_layers(network, seed):
    """The diagonal shortcut and the whole states give the variances that the network has.

    ``q`` of the last layer that needs one, at a state without positions, is the NNGP of the
    network cut there.
    """
    spec, shape = network
    places = variance_places(spec.layers, input_positions(spec, shape))
    x = draw_items(seed, 3, shape)
    found = ReferenceEngine().variances(spec, x, "float64", memory_bytes=2**28)
    assert found.shape == (3, sum(math.prod(place.positions) for place in places))
    for index, layer in enumerate(spec.layers):
        ends = [place for place in places if place.layer == f"layers[{index}]"]
        if not ends or ends[0].positions:
            continue
        column = sum(math.prod(p.positions) for p in places[: places.index(ends[0])])
        cut = spec.model_copy(update={"layers": spec.layers[:index], "kernel": "nngp"})
        wanted = [naive.naive_pair(cut.canonical(), item, item)[0] for item in x]
        assert relative(found[:, column], np.array(wanted)) < tolerance("nngp", spec), layer


@pytest.mark.parametrize("memory", [2_000_000, 20_000_000])
def test_a_memory_budget_changes_no_number(memory):
    x = np.random.default_rng(3).normal(size=(9, 8, 8, 2))
    kernel = {"preset": "myrtle5", "kernel": ["nngp", "ntk"]}
    roomy = compute_gram(x, kernel=kernel, precision="float64")
    tight = compute_gram(x, kernel=kernel, precision="float64", memory_bytes=memory)
    for name, gram in roomy.items():
        assert relative(tight[name], gram) < 1e-13
