"""compute_derivative: what it takes, what it refuses."""

import numpy as np
import pytest
from slopes import RNG, X, Y, network

from gramserve.derivative import compute_derivative
from gramserve.errors import (
    InvalidDataError,
    MemoryBudgetError,
    NonFiniteKernelError,
    ShapeError,
    SpecError,
    UnsupportedDtypeError,
)
from gramserve.kernels import differentiate_in_pieces, pair_bytes


def test_directions_are_products_with_the_whole():
    kernel = {"preset": "fc", "depth": 2, "activation": "erf", "b_std": 0.2}
    u, v = RNG.normal(size=X.shape), RNG.normal(size=Y.shape)

    def whole(which):
        return compute_derivative(X, Y, kernel=kernel, derivative=which)

    def along(which, **directions):
        return compute_derivative(X, Y, kernel=kernel, derivative=which, **directions)

    np.testing.assert_allclose(
        along("dx", directions=u), np.einsum("ijk,ik->ij", whole("dx"), u), rtol=1e-12
    )
    np.testing.assert_allclose(
        along("dx2", directions2=v[0]), whole("dx2") @ v[0], rtol=1e-12, atol=1e-15
    )
    mixed = np.einsum("ijkl,ik,jl->ij", whole("dxdx2"), u, v)
    np.testing.assert_allclose(along("dxdx2", directions=u, directions2=v), mixed, rtol=1e-11)
    curved = np.einsum("ijkl,ik,il->ij", whole("dxdx"), u, u)
    np.testing.assert_allclose(along("dxdx", directions=u), curved, rtol=1e-11)


def test_pieces_and_small_memory_change_nothing():
    spec = network({"type": "relu"}, kernel=["nngp", "ntk"])
    whole = compute_derivative(X, Y, kernel=spec, derivative="dxdx2")
    assert list(whole) == ["nngp", "ntk"]
    pieces = list(differentiate_in_pieces(spec, X, Y, "dxdx2", "ntk", piece_bytes=1))
    assert [len(piece) for piece in pieces] == [1, 1, 1]
    np.testing.assert_allclose(np.concatenate(pieces), whole["ntk"], rtol=1e-12)
    little = 8 * 2 * 3 * 5 * 16 + 5 * pair_bytes("dxdx2", 4)
    tight = compute_derivative(X, Y, kernel=spec, derivative="dxdx2", memory_bytes=little)
    np.testing.assert_allclose(tight["nngp"], whole["nngp"], rtol=1e-12)
    with pytest.raises(MemoryBudgetError, match="give directions"):
        compute_derivative(X, Y, kernel=spec, derivative="dxdx2", memory_bytes=little - 1)
    x = RNG.integers(0, 5, (3, 2)).astype(np.uint8)
    np.testing.assert_array_equal(
        compute_derivative(x, kernel="fc", derivative="dx"),
        compute_derivative(x / 1.0, x / 1.0, kernel="fc", derivative="dx"),
    )


FC = {"preset": "fc"}


@pytest.mark.parametrize(
    ("x", "options", "kind", "words"),
    [
        (X, {"kernel": "myrtle5"}, SpecError, r"layers\[0\] \(conv\) has no derivatives here"),
        (X, {"kernel": {"layers": [{"type": "gelu"}]}}, SpecError, r"layers\[0\] \(gelu\)"),
        (
            X,
            {"kernel": {"layers": [{"type": "residual", "branches": [[], [{"type": "sign"}]]}]}},
            SpecError,
            r"layers\[0\]\.branches\[1\]\[0\] \(sign\)",
        ),
        (
            X,
            {"kernel": {"layers": [{"type": "arc_cosine", "order": 3}]}},
            SpecError,
            "order 3 has no derivatives here, only orders 0 to 2",
        ),
        (X, {"derivative": "dy"}, SpecError, "known are dx, dx2, dxdx2, dxdx"),
        (np.ones((2, 3, 3, 1)), {}, ShapeError, "dense"),
        (X, {"x2": Y[:, :2]}, ShapeError, r"\(4,\).*\(2,\)"),
        (X * np.nan, {}, InvalidDataError, "item 0 of x"),
        (X, {"directions2": X}, SpecError, "dx needs directions; .*takes no directions2"),
        (X, {"directions": X[:2]}, ShapeError, r"\(2, 4\); they need \(3, 4\), or \(4,\)"),
        (X, {"directions": X * np.inf}, InvalidDataError, "directions hold NaN"),
        (X, {"directions": X * 1j}, UnsupportedDtypeError, "complex"),
        (1e200 * X, {}, NonFiniteKernelError, "row 0 and column 0.*scale the items down"),
        (
            X,
            {"kernel": {"layers": [{"type": "gaussian", "b": 5.0}]}},
            NonFiniteKernelError,
            "scale the items down",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_refused(x, options, kind, words):
    with pytest.raises(kind, match=words):
        compute_derivative(x, **{"kernel": FC, "derivative": "dx"} | options)
