"""Parameters of finite networks, a function of seed, sample and layer alone.

Each layer has a random stream of its own, a Philox generator seeded by NumPy's ``SeedSequence``
with the layer's path as spawn key. So every block of a Gram matrix, on whichever machine, sees
the same network, and asking for another kernel or another precision does not change it: numbers
are drawn in float64 and rounded.

References
----------
Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.spec import layers
from gramserve.stages import Node


@dataclass(frozen=True)
class LayerParameters:
    """Weights and biases of one layer, all standard normal."""

    weights: NDArray[Any]
    """(T, C, C'); (Q, T, C, C') for a locally connected layer. T is 1 for a dense layer."""
    biases: NDArray[Any] | None
    """(C',); (Q, C') for a locally connected layer. None where ``b_std`` is 0."""


def draw_parameters(node: Node, seed: int, sample: int, dtype: np.dtype[Any]) -> LayerParameters:
    """Draw the parameters of a layer.

    Parameters
    ----------
    node : Node
        A layer with weights.
    seed : int
        Of the spec.
    sample : int
        Which network, from 0.
    dtype : numpy.dtype
        Of the result.

    Returns
    -------
    LayerParameters
        Independent N(0, 1) numbers, the same for the same arguments.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(sample, *node.path))
    generator = np.random.Generator(np.random.Philox(stream))
    copies: tuple[int, ...] = ()
    if isinstance(node.layer, layers.ConvLocal):
        copies = (prod(node.after.positions),)
    shape = (*copies, node.taps, node.before.channels, node.after.channels)
    weights = generator.standard_normal(shape).astype(dtype, copy=False)
    biases = None
    if node.layer.b_std:  # type: ignore[union-attr]
        biases = generator.standard_normal((*copies, node.after.channels))
        biases = biases.astype(dtype, copy=False)
    return LayerParameters(weights, biases)
