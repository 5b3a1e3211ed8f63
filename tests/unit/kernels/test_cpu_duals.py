"""The duals of the CPU engine alone, over wide ranges of variances and cosines.

Covariances and variances go in as they are, without layers before that would round them, and
the formulas of the reference engine in twice the precision say what should come out.
"""

import numpy as np
import pytest
from dual_ranges import AWAY, RANGES, TOLERANCES, moments_of
from every_activation import ACTIVATIONS, STEPS, spec_of

from gramserve.kernels import Items
from gramserve.kernels.cpu.block import Block, evaluate_tails
from gramserve.kernels.cpu.program import write_program
from gramserve.kernels.cpu.run import aligned, lanes_of
from gramserve.kernels.duals import evaluate_dual
from gramserve.stages import count_operations


def run(layer, covariances, roots, dtype):
    """Return what the engine's dual makes of (n, m) covariances, and of ``T = 1``."""
    spec = spec_of(layer)
    count = count_operations(spec, (1,)).variances
    program = write_program(spec, (1,), count, for_variances=False)
    (height, width), lanes = covariances.shape, lanes_of(dtype)
    values = aligned((2, 1, height, -(-width // lanes) * lanes), dtype)
    values[0, 0, :, :width], values[1] = covariances, 1
    labels = np.arange(height), height + np.arange(width)
    rows, columns = (
        Items(np.zeros((len(n), 1)), (n.astype(dtype) ** 2)[:, None][:, :count], label)
        for n, label in zip(roots, labels, strict=True)
    )
    block = Block(spec, program, rows, columns, *labels, dtype, dtype, True, values)
    return evaluate_tails(block, 0, has_tangent=True)[""][..., :width]


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="nothing is more precise than float64 here"
)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "norm of all"])
@pytest.mark.parametrize(("dtype", "nngp", "ntk"), TOLERANCES)
def test_duals_are_exact_to_rounding(activation, dtype, nngp, ntk):
    layer = spec_of(ACTIVATIONS[activation]).layers[0]
    dtype = np.dtype(dtype)
    covariances, roots, moments = moments_of(dtype, *RANGES.get(activation, (-6, 6)))
    found = run(ACTIVATIONS[activation], covariances, roots, dtype)
    with np.errstate(under="ignore"):
        wanted = evaluate_dual(layer, moments, slope=True)
    away = np.tile(AWAY, len(covariances))
    for kernel, values, dual in zip(("nngp", "ntk"), found, wanted, strict=True):
        exact = np.broadcast_to(dual, values.shape)
        error = np.abs(values - exact)
        if kernel == "ntk" or activation in STEPS:
            error, limit = error[:, away], ntk
        else:
            limit = nngp
        assert error.max() <= limit * (np.abs(exact).max() or 1)
