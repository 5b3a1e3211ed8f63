"""The CUDA engine on the shim's device, against the reference engine in float64."""

from functools import cache

import numpy as np
from cuda_shim import ShimDevice

from gramserve.kernels import ENGINES, Items
from gramserve.kernels.cuda import CudaEngine
from gramserve.spec import parse_kernel

MEMORY = 2**30
REFERENCE = ENGINES["reference"]


@cache
def shim_engine():
    """One engine for all tests, so that networks are compiled once."""
    return CudaEngine(ShimDevice())


def pair_items(spec, shape, rows=3, columns=4, seed=0):
    """Row and column items; the first row item is also a column item."""
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(rows, *shape)), draw.normal(size=(columns, *shape))
    y[0] = x[0]
    keys = np.arange(rows), np.concatenate([[0], np.arange(rows, rows + columns - 1)])
    return tuple(
        Items(values, REFERENCE.variances(spec, values, "float64", memory_bytes=MEMORY), key)
        for values, key in zip((x, y), keys, strict=True)
    )


def difference(description, shape, precision, engine=None, **sizes):
    """The largest difference by kernel, over the largest self-kernel or value."""
    spec = parse_kernel(description)
    rows, columns = pair_items(spec, shape, **sizes)
    exact = REFERENCE.evaluate(spec, rows, columns, "float64", memory_bytes=MEMORY)
    found = (engine or shim_engine()).evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)
    assert list(found) == list(exact) == list(spec.outputs)
    own = REFERENCE.evaluate(spec, rows, rows, "float64", memory_bytes=MEMORY)
    return {
        name: np.abs(found[name] - exact[name]).max()
        / max(np.abs(exact[name]).max(), np.abs(own[name]).max())
        for name in exact
    }
