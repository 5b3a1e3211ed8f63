"""Covariances over wide ranges of variances and cosines, and what duals of them should be."""

import numpy as np

from gramserve.kernels.moments import Moments

COSINES = np.concatenate(
    [
        -1 + np.concatenate([[0], np.logspace(-9, -0.3, 60)]),
        np.linspace(-0.5, 0.5, 41),
        1 - np.concatenate([np.logspace(-0.3, -9, 60), [0]]),
    ]
)
AWAY = np.abs(COSINES) < 1 - 1e-3
RANGES = {"exp": (-6, 0.9), "order 3": (-6, 6)}
"""Powers of ten of the variances, where they are not -6 to 6: ``exp`` leaves float32."""

WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}

TOLERANCES = [("float32", 2e-6, 5e-6), ("float64", 1e-12, 1e-10)]
"""Dtype, and maximum errors of duals and of slopes over their maxima."""


def moments_of(dtype, low, high):
    """Return covariances, roots of variances, and the moments they are, in a wider dtype."""
    wide = WIDER[dtype]
    roots = np.sqrt(np.logspace(low, high, 13)).astype(dtype)
    # The roots of the squares, which is what an engine is given.
    roots = np.sqrt(roots * roots)
    others = np.repeat(roots, len(COSINES))
    norms = roots[:, None].astype(wide) * others.astype(wide)
    covariances = (norms * np.tile(COSINES, len(roots)).astype(wide)).astype(dtype)
    # What rounds to n n' counts as that.
    exact = np.where(
        np.abs(covariances) >= roots[:, None] * others,
        np.sign(covariances) * norms,
        covariances.astype(wide),
    )
    rows, columns = (part.astype(wide) ** 2 for part in (roots[:, None], others[None]))
    return covariances, (roots, others), Moments(exact, rows, columns)
