"""The CPU engine against the reference engine: random networks, sizes, groups and identities."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_networks import count_steps, networks

from gramserve.kernels import ENGINES, Items
from gramserve.spec import PRESETS, parse_kernel

# Low degrees on purpose: what they are is defined, whether or not they have converged.
pytestmark = pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")

REFERENCE, CPU = ENGINES["reference"], ENGINES["cpu"]
MEMORY = 2**30

many = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much
    ],
)  # fmt: skip


def items(spec, values, keys):
    variances = CPU.variances(spec, values, "float64", memory_bytes=MEMORY)
    return Items(values, variances, np.asarray(keys))


def both(spec, rows, columns, precision):
    exact = REFERENCE.evaluate(spec, rows, columns, "float64", memory_bytes=MEMORY)
    found = CPU.evaluate(spec, rows, columns, precision, memory_bytes=MEMORY, threads=2)
    return [(name, found[name], exact[name]) for name in spec.kernels]


def assume_run(spec):
    """Leave out what no plane can hold, and local layers that wrap around, but nothing else."""
    refused = CPU.refusal(spec, "float64")
    assert not refused or "center" in refused or "conv_local" in refused
    assume(not refused)


def scale_of(spec, rows, columns, name):
    """The largest self-kernel: what errors are measured against where values cancel."""
    return max(
        np.abs(np.diag(REFERENCE.evaluate(spec, side, side, "float64", memory_bytes=MEMORY)[name]))
        .max()
        for side in (rows, columns)
    )  # fmt: skip


@many
@given(networks(), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_variances_of_any_network_agree_with_the_reference_engine(network, count, seed):
    spec, shape = network
    assume_run(spec)
    x = np.random.default_rng(seed).normal(size=(count, *shape))
    exact = REFERENCE.variances(spec, x, "float64", memory_bytes=MEMORY)
    found = CPU.variances(spec, x, "float64", memory_bytes=MEMORY)
    assert found.shape == exact.shape
    relative = 1e-7 if count_steps(spec.layers) else 1e-11
    floor = 1e-13 * np.abs(exact).max(initial=0)
    np.testing.assert_allclose(found, exact, rtol=relative, atol=floor)


@many
@given(networks(), st.integers(1, 5), st.integers(1, 11), st.integers(0, 2**32 - 1))
def test_any_network_agrees_with_the_reference_engine(network, height, width, seed):
    spec, shape = network
    assume_run(spec)
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(height, *shape)), draw.normal(size=(width, *shape))
    y[0] = x[0]
    keys = np.arange(height + width)
    rows = items(spec, x, keys[:height])
    columns = items(spec, y, np.concatenate([keys[:1], keys[height + 1 :]]))
    steep = count_steps(spec.layers)
    for name, found, exact in both(spec, rows, columns, "float64"):
        scale = max(scale_of(spec, rows, columns, name), 1e-300)
        # Items of one channel are parallel everywhere: k0 has an infinite slope there.
        near = 1e-7 if steep or name == "ntk" else 1e-10
        assert np.abs(found - exact).max() <= scale * near
        assume(np.abs(exact).max() < 1e30)
    single = REFERENCE.evaluate(spec, rows, columns, "float32", memory_bytes=MEMORY)
    for precision in ("float32", "mixed"):
        for name, found, exact in both(spec, rows, columns, precision):
            scale = max(scale_of(spec, rows, columns, name), 1e-30)
            # Means over positions may cancel, for the reference engine in float32 as well.
            cancelled = 20 * np.abs(single[name] - exact).max()
            near = 2e-3 if steep or name == "ntk" else 5e-6
            assert found.dtype == np.float32
            assert np.abs(found - exact).max() <= cancelled + scale * near


LAYERS = [
    {"npatch": 3, "subsampling": 2},
    {"npatch": 3, "subsampling": 2, "pooling": "average", "kernel": "relu"},
]
SETTINGS = {
    "cntk": [{}, {"depth": 8, "gap": False, "fix": True}],
    "ckn": [{"layers": LAYERS}, {"layers": LAYERS[::-1]}],
    "fc": [{}, {"activation": "erf", "b_std": 0.3}],
}


@pytest.mark.parametrize(
    "preset",
    [{"preset": name, **more} for name in PRESETS for more in SETTINGS.get(name, [{}])],
    ids=lambda preset: preset["preset"],
)
@pytest.mark.parametrize(
    ("precision", "nngp", "ntk"),
    [("float64", 1e-12, 1e-10), ("mixed", 2e-6, 2e-6), ("float32", 2e-6, 5e-6)],
)
def test_presets_are_within_the_table_of_tolerances(preset, precision, nngp, ntk):
    spec = parse_kernel({**preset, "kernel": ["nngp", "ntk"]})
    with np.load("tests/data/cifar_200.npz") as data:
        x = data["images"][:11, 8:24, 8:24] / 255 - 0.5
    if preset["preset"] == "fc":
        x = x.reshape(len(x), -1)
    rows, columns = items(spec, x[:4], range(4)), items(spec, x[4:], range(4, 11))
    for name, found, exact in both(spec, rows, columns, precision):
        assert np.abs(found - exact).max() <= np.abs(exact).max() * {"nngp": nngp, "ntk": ntk}[name]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_symmetric_blocks_are_exactly_symmetric_and_like_any_other(precision):
    spec = parse_kernel({"preset": "cntk", "depth": 3, "kernel": ["nngp", "ntk"]})
    x = np.random.default_rng(3).normal(size=(19, 6, 5, 2))
    block = items(spec, x, range(19))
    whole = CPU.evaluate(spec, block, block, precision, memory_bytes=MEMORY, threads=2)
    part = CPU.evaluate(spec, block[3:5], block[2:19], precision, memory_bytes=MEMORY)
    for name, gram in whole.items():
        assert np.array_equal(gram, gram.T)
        # In which group a pair lies changes nothing.
        assert np.array_equal(part[name][:, 3:], gram[3:5, 5:])


ACTIVATIONS = [
    {"type": "relu", "normalized": True}, {"type": "leaky_relu", "alpha": 0.1}, {"type": "abs"},
    {"type": "arc_cosine", "order": 0}, {"type": "arc_cosine", "order": 2},
    {"type": "erf", "b": 0.7, "c": 0.1}, {"type": "exp_normalized", "gamma": 2.0},
    {"type": "power", "degree": 3}, {"type": "square"},
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda layer: layer["type"])
@pytest.mark.parametrize(
    ("precision", "near", "steep"), [("float64", 1e-12, 1e-7), ("float32", 2e-6, 5e-4)]
)
def test_items_that_are_zero_opposite_multiple_or_equal(activation, precision, near, steep):
    conv = {"type": "conv", "size": 3}
    pool = {"type": "avg_pool", "window": 2}
    layers = [conv, activation, pool, conv, activation, {"type": "flatten"}]
    spec = parse_kernel({"layers": layers, "kernel": ["nngp", "ntk"]})
    x = np.random.default_rng(5).normal(size=(6, 7, 2))
    near_copy = x * (1 + 1e-5 * np.random.default_rng(6).normal(size=x.shape))
    corner = np.where(np.indices(x.shape)[0] < 2, x, 0)
    values = np.stack([x, np.zeros_like(x), -x, 2 * x, x, near_copy, np.ones_like(x), corner])
    # The fifth is the first again under another key: only rounding says that they are equal.
    block = items(spec, values, range(len(values)))
    exact = REFERENCE.evaluate(spec, block, block, "float64", memory_bytes=MEMORY)
    found = CPU.evaluate(spec, block, block, precision, memory_bytes=MEMORY)
    for name, gram in found.items():
        assert np.isfinite(gram).all()
        assert np.array_equal(gram, gram.T)
        # The tangent kernel behind a step is zero.
        error = np.abs(gram - exact[name]) / (np.abs(exact[name]).max() or 1)
        is_steep = name == "ntk" or activation.get("order") == 0
        assert error.max() <= (steep if is_steep else near)
        # x is x', p = p' is known, not computed: there the first row of the table holds.
        assert np.diag(error).max() <= (5e-6 if precision == "float32" else 1e-10)
