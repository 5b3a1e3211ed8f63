"""What is said of quadratures that have not converged, by both engines."""

import warnings

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.errors import QuadratureWarning

CONV, GAP = {"type": "conv", "size": 3}, {"type": "global_avg_pool"}
BRANCH = {"type": "residual", "branches": [[{"type": "numeric", "function": "tanh"}, CONV], []]}


def kernel(function, degree, kernel="nngp", **changes):
    layers = [CONV, {"type": "numeric", "function": function, "degree": degree}, GAP]
    return {"layers": layers, "kernel": kernel, **changes}


def images(size, count=3):
    """Images whose variances lie around the square of a size."""
    return size * np.random.default_rng(0).normal(size=(count, 5, 5, 1))


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (kernel("tanh", 50), "degree 50 has a relative error of .* square of tanh at variance"),
        (kernel("relu", 51, "ntk"), "the derivative of relu"),
        ({"layers": [CONV, BRANCH, GAP]}, "square of tanh"),
        (
            {"layers": [CONV, GAP], "readouts": [
                {"name": "a", "after": 1, "layers": kernel("tanh", 20)["layers"][1:]}
            ]},
            "degree 20",
        ),
        (kernel("tanh", 50, augment="flips"), "square of tanh"),
    ],
)  # fmt: skip
def test_a_quadrature_that_has_not_converged_says_so(asked, words, engine):
    with pytest.warns(QuadratureWarning, match=words):
        compute_gram(images(9.0), kernel=asked, engine=engine)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("asked", ["nngp", "ntk"])
def test_one_that_has_converged_says_nothing(asked, engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_gram(images(0.3), kernel=kernel("tanh", 200, asked), engine=engine)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_only_kernels_that_need_the_derivative_hear_of_it(engine):
    """The derivative converges later than the function, and only the NTK needs it."""
    # One pixel: its variance is its square over the taps of the filter.
    x = np.full((1, 1, 1, 1), 3 * 10**0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_gram(x, kernel=kernel("softplus", 60, "nngp"), engine=engine)
    with pytest.warns(QuadratureWarning, match="the derivative of softplus at variance 10"):
        compute_gram(x, kernel=kernel("softplus", 60, "ntk"), engine=engine)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_one_item_of_many_is_enough(engine):
    x = images(0.3, 40)
    x[17] *= 60
    with pytest.warns(QuadratureWarning, match="tanh"):
        compute_gram(x, kernel=kernel("tanh", 200), engine=engine)
