"""Random networks against the naive oracle, and what every kernel must satisfy."""

import naive
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import networks

from gramserve.compute import compute_gram

slow = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def draw_items(seed, count, shape):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def relative(found, wanted):
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300)


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_any_network_agrees_with_the_naive_oracle(network, seed):
    spec, shape = network
    x, y = draw_items(seed, 2, shape), draw_items(seed + 1, 1, shape)
    found = compute_gram(x, y, kernel=spec, precision="float64")
    wanted = naive.naive_gram(spec.canonical(), x, y)
    assert relative(found["nngp"], wanted["nngp"]) < 1e-10
    assert relative(found["ntk"], wanted["ntk"]) < 1e-7


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_gram_matrices_are_symmetric_and_positive_semidefinite(network, seed):
    spec, shape = network
    x = draw_items(seed, 5, shape)
    for gram in compute_gram(x, kernel=spec, precision="float64").values():
        assert np.array_equal(gram, gram.T)
        scale = np.abs(gram).max()
        assert np.linalg.eigvalsh(gram).min() >= -1e-9 * max(scale, 1e-300) * len(gram)


@slow
@given(networks(), st.integers(0, 2**32 - 1), st.permutations(range(4)))
def test_permuting_the_items_permutes_the_matrix(network, seed, order):
    spec, shape = network
    x, order = draw_items(seed, 4, shape), np.array(order)
    straight = compute_gram(x, kernel=spec, precision="float64")
    shuffled = compute_gram(x[order], kernel=spec, precision="float64")
    for name, gram in straight.items():
        assert relative(shuffled[name], gram[np.ix_(order, order)]) < 1e-9


@slow
@given(networks(), st.integers(0, 2**32 - 1))
def test_symmetric_and_cross_matrices_agree(network, seed):
    spec, shape = network
    x = draw_items(seed, 4, shape)
    whole = compute_gram(x, kernel=spec, precision="float64")
    cross = compute_gram(x, x[1:3], kernel=spec, precision="float64")
    for name, gram in whole.items():
        assert relative(cross[name], gram[:, 1:3]) < 1e-12


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


@pytest.mark.parametrize("memory", [2_000_000, 20_000_000])
def test_a_memory_budget_changes_no_number(memory):
    x = np.random.default_rng(3).normal(size=(9, 8, 8, 2))
    kernel = {"preset": "myrtle5", "kernel": ["nngp", "ntk"]}
    roomy = compute_gram(x, kernel=kernel, precision="float64")
    tight = compute_gram(x, kernel=kernel, precision="float64", memory_bytes=memory)
    for name, gram in roomy.items():
        assert relative(tight[name], gram) < 1e-13
