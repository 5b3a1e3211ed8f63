"""What every Gram matrix satisfies, by either engine: symmetric, no negative eigenvalue, and the
same whether it is computed as a whole or block by block.
"""

import numpy as np
import pytest
from every_activation import ACTIVATIONS, STEPS, spec_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_networks import count_steps, networks

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels import ENGINES, Items
from gramserve.kernels.functions import FUNCTIONS

# Low degrees on purpose: what they are is defined, whether or not they have converged.
pytestmark = pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")

REFERENCE, CPU = ENGINES["reference"], ENGINES["cpu"]
MEMORY = 2**28
PRECISIONS = ("float64", "mixed", "float32")

CONV = {"type": "conv", "size": 3, "b_std": 0.2}
POOL, MEAN = {"type": "avg_pool", "window": 2}, {"type": "global_avg_pool"}

engines = pytest.mark.parametrize("engine", [REFERENCE, CPU], ids=lambda engine: engine.name)


def items(engine, spec, x, precision):
    variances = engine.variances(spec, x, precision, memory_bytes=MEMORY)
    return Items(x, variances, np.arange(len(x)))


def evaluate(engine, spec, rows, columns, precision):
    return engine.evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)


def check(engine, spec, x, precision, near):
    """Compute a matrix whole and in three blocks; errors relative to the largest entry."""
    whole = items(engine, spec, x, precision)
    grams = evaluate(engine, spec, whole, whole, precision)
    half = len(x) // 2
    for (a, b), (c, d) in [((0, half), (0, half)), ((0, half), (half, len(x)))]:
        part = evaluate(engine, spec, whole[a:b], whole[c:d], precision)
        for name, gram in grams.items():
            difference = np.abs(part[name] - gram[a:b, c:d]).max()
            assert difference <= near * np.abs(gram).max()
    for gram in grams.values():
        assert np.array_equal(gram, gram.T)
        scale = float(np.abs(gram).max()) or 1.0
        eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64) / scale)
        assert eigenvalues.min() >= -near * len(x)


# Items at which angles are far from 0 and pi: there even steps are computed to rounding.
NEAR = {"float64": 1e-12, "mixed": 4e-6, "float32": 1e-5}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
@engines
def test_every_activation_gives_a_matrix_of_inner_products(engine, activation, precision):
    layer = ACTIVATIONS[activation]
    # A second step would take the root of the first one's rounding.
    again = [] if activation in STEPS else [layer]
    spec = spec_of(CONV, layer, POOL, {**CONV, "w_std": 0.5}, *again, MEAN)
    x = 0.5 * np.random.default_rng(0).normal(size=(19, 5, 4, 3))
    check(engine, spec, x, precision, NEAR[precision])


@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_so_does_every_numeric_one(function):
    layer = {"type": "numeric", "function": function, "degree": 30}
    spec = spec_of(CONV, layer, POOL, CONV, layer, MEAN)
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 3))
    for precision in ("float64", "float32"):
        check(REFERENCE, spec, x, precision, NEAR[precision])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(networks(), st.integers(0, 2**32 - 1), st.sampled_from(PRECISIONS))
@engines
def test_so_does_every_network(engine, network, seed, precision):
    spec, shape = network
    assume(engine.refusal(spec, precision) is None)
    x = np.random.default_rng(seed).normal(size=(6, *shape))
    # Items of one channel are parallel everywhere, where k0 takes the root of rounding.
    slopes = count_steps(spec.layers) + ("ntk" in spec.kernels)
    assume(slopes < 3)
    near = NEAR[precision] ** (1, 0.5, 0.25)[slopes]
    try:
        check(engine, spec, x, precision, near)
    except NonFiniteKernelError:
        if precision == "float64":
            raise
        # In float32 a polynomial may overflow: no such example.
        assume(False)
