"""Derivatives of kernels of vectors by finite differences, and small networks to take them of."""

import numpy as np

import gramserve as gs
from gramserve.kernels import differentiate_kernel
from gramserve.kernels.derivatives.differentiate import begin
from gramserve.kernels.derivatives.walk import Walk
from gramserve.spec import derivative_shape

LENGTH = 4
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, LENGTH)), RNG.normal(size=(5, LENGTH))


def named(activation):
    return "-".join(str(value) for value in activation.values())


def network(*activations, kernel="nngp", b_std=0.3, channels="mean"):
    layers = [
        layer
        for activation in activations
        for layer in ({"type": "dense", "w_std": 0.8, "b_std": b_std}, activation)
    ]
    layers.append({"type": "dense", "w_std": 1.1, "b_std": b_std})
    return gs.parse_kernel({"layers": layers, "kernel": kernel, "input": {"channels": channels}})


def value_of(spec, x, y):
    """The kernel itself, as the derivatives' own recursion has it."""
    kernel, _ = Walk("dx", spec.kernel).run(spec.layers, begin(spec, x, y, "dx"))
    return kernel.value


def derivative_of(spec, x, y, which):
    return differentiate_kernel(spec, x, y, which, spec.kernel)


def difference(function, at, step=1e-3):
    """Central differences of fourth order in every component, along a new last axis."""
    slopes = []
    for move in step * np.eye(LENGTH):
        near = function(at + move) - function(at - move)
        far = function(at + 2 * move) - function(at - 2 * move)
        slopes.append((8 * near - far) / (12 * step))
    return np.stack(slopes, axis=-1)


def check_against_differences(spec, x=X, y=Y, tolerance=1e-9):
    def first(a, b, which):
        return derivative_of(spec, a, b, which)

    pairs = {
        "dx": difference(lambda z: value_of(spec, z, y), x),
        "dx2": difference(lambda z: value_of(spec, x, z), y),
        "dxdx2": difference(lambda z: first(x, z, "dx"), y),
        "dxdx": difference(lambda z: first(z, y, "dx"), x),
    }
    for which, expected in pairs.items():
        found = derivative_of(spec, x, y, which)
        assert found.shape == derivative_shape(which, len(x), len(y), LENGTH)
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, atol=tolerance * scale, err_msg=which)
