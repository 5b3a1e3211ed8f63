"""What is measured: networks, images, and how many entries of layers a pair has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gramserve.spec import KernelSpec, parse_kernel
from gramserve.stages import Fork, cut_stages, plane_entries
from gramserve.stages.activations import DUAL_OPERATIONS

DATA = Path(__file__).parents[2] / "data" / "cifar_200.npz"

CKN = [
    {"npatch": 3, "subsampling": 2, "kernel": "exp"},
    {"npatch": 3, "subsampling": 5, "kernel": "exp"},
]


def ckn(pooling: str) -> dict[str, Any]:
    """Two layers of 3 x 3 patches, pooled by 2 and by 5."""
    return {"preset": "ckn", "layers": [{**layer, "pooling": pooling} for layer in CKN]}


@dataclass(frozen=True)
class Network:
    """A kernel with what is measured of it."""

    name: str
    kernel: dict[str, Any]
    is_timed: bool = True
    is_quick: bool = False
    """Whether ``--quick`` has it."""
    aim: float | None = None
    """Microseconds a pair in float32 that are aimed at on an H200."""
    is_dense: bool = False
    """Whether the dense baseline runs it too."""

    @property
    def spec(self) -> KernelSpec:
        """Its layers."""
        return parse_kernel(self.kernel)

    @property
    def takes_vectors(self) -> bool:
        """Whether items are vectors."""
        return self.kernel["preset"] == "fc"


NETWORKS = (
    Network("Myrtle5, NNGP", {"preset": "myrtle5"}, is_dense=True),
    Network("Myrtle5, NTK", {"preset": "myrtle5", "kernel": "ntk"}),
    Network("Myrtle7, NNGP", {"preset": "myrtle7"}),
    Network("Myrtle7, NTK", {"preset": "myrtle7", "kernel": "ntk"}),
    Network("Myrtle10, NNGP", {"preset": "myrtle10"}, is_quick=True, aim=5.0, is_dense=True),
    Network(
        "Myrtle10, NTK",
        {"preset": "myrtle10", "kernel": "ntk"},
        is_quick=True,
        aim=10.0,
        is_dense=True,
    ),
    Network("CNTK, depth 10, global pool", {"preset": "cntk", "depth": 10}),
    Network("CNTK, depth 20, global pool", {"preset": "cntk", "depth": 20}),
    Network("CNTK, depth 10, flatten", {"preset": "cntk", "depth": 10, "gap": False}),
    Network("CNTK, depth 20, flatten", {"preset": "cntk", "depth": 20, "gap": False}),
    Network("CKN, exp, gaussian", ckn("gaussian")),
    Network("CKN, exp, strided", ckn("strided")),
    Network("Myrtle5, exp, NNGP", {"preset": "myrtle5_exp"}, is_timed=False),
    Network("Myrtle7, exp, NNGP", {"preset": "myrtle7_exp"}, is_timed=False),
    Network("Myrtle10, exp, NNGP", {"preset": "myrtle10_exp"}, is_timed=False),
    Network("CNTK, depth 5, local pool", {"preset": "cntk", "depth": 5, "lap": 2}, is_timed=False),
    Network("fully connected, depth 3, NNGP", {"preset": "fc"}, is_timed=False),
)
"""The most important first where time runs out is the order of :func:`by_weight`."""

TINY = (
    Network("Myrtle5, NNGP", {"preset": "myrtle5"}, is_dense=True, aim=5.0),
    Network("fully connected, depth 1, NTK", {"preset": "fc", "depth": 1, "kernel": "ntk"}),
)
"""What a dry run has: all paths of the script, little to compile."""


def by_weight(networks: Sequence[Network]) -> list[Network]:
    """Return networks with those first that have an aim, and those that are only checked last."""
    return sorted(networks, key=lambda each: (not each.is_quick, not each.is_timed))


def images(count: int, side: int = 32) -> np.ndarray:
    """Return distinct colour images, standardised one by one.

    The 200 photographs of the tests, as they are, mirrored, and rolled by some positions; the
    middle of them where ``side`` is smaller.

    Returns
    -------
    ndarray of float32, (count, side, side, 3)
    """
    with np.load(DATA) as data:
        photographs = data["images"].astype(np.float32)
    found: list[np.ndarray] = []
    for number in range(-(-count // len(photographs))):
        turned = photographs[:, :, ::-1] if number % 2 else photographs
        found.append(np.roll(turned, 3 * (number // 2), axis=(1, 2)))
    x = np.concatenate(found)[:count]
    low = (x.shape[1] - side) // 2
    x = x[:, low : low + side, low : low + side]
    return (x - x.mean(axis=(1, 2, 3), keepdims=True)) / x.std(axis=(1, 2, 3), keepdims=True)


def entry_layers(spec: KernelSpec, shape: Sequence[int]) -> list[int]:
    """Return how many entries activations of a pair have, stage by stage; last the single numbers.

    A convolution belongs to the activation that follows it: an entry of both counts one.
    """
    network = cut_stages(spec, shape)
    stages = [_count(stage.steps, stage.start_planes) for stage in network.stages]
    tails = (network.tail, *(tap.tail for tap in network.taps))
    return [*stages, sum(_count(tail, ((0, 0),)) for tail in tails)]


def _count(steps, planes):
    found = 0
    for step in steps:
        down, across = step.strides
        if isinstance(step, Fork):
            found += sum(_count(branch, planes) for branch in step.branches)
        planes = tuple((a // down, b // across) for a, b in planes)
        if not isinstance(step, Fork) and type(step.layer) in DUAL_OPERATIONS:
            found += sum(plane_entries(step.after, plane) for plane in planes)
    return found
