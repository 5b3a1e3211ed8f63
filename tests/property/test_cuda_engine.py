"""The CUDA engine's kernels, run by the shim, on random networks."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from random_networks import count_steps, networks
from shim_engine import MEMORY, REFERENCE, pair_items, shim_engine


# Every network is a source to compile: few of them, and none again to make it smaller.
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much
    ],
)  # fmt: skip
@given(networks(), st.sampled_from(["float64", "mixed"]), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")
def test_any_network_agrees_with_the_reference_engine(network, precision, seed):
    spec, shape = network
    assume(shim_engine().refusal(spec, precision) is None)
    rows, columns = pair_items(spec, shape, rows=3, columns=2, seed=seed)
    exact = REFERENCE.evaluate(spec, rows, columns, "float64", memory_bytes=MEMORY)
    found = shim_engine().evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)
    steep = count_steps(spec.layers)
    for name, values in exact.items():
        scale = max(
            np.abs(np.diag(REFERENCE.evaluate(spec, side, side, "float64",
                                              memory_bytes=MEMORY)[name])).max()
            for side in (rows, columns)
        )  # fmt: skip
        tolerance = 1e-7 if steep or name == "ntk" else 1e-10
        if precision == "mixed":
            tolerance = 3e-3 if steep or name == "ntk" else 2e-5
        assert np.abs(found[name] - values).max() <= tolerance * scale
