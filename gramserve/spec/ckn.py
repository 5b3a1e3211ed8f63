"""Convolutional kernel networks, from the layers that the ckn_kernel package takes.

References
----------
Mairal, Koniusz, Harchaoui and Schmid, "Convolutional Kernel Networks", NeurIPS 2014.
Bietti, "Approximation and Learning with Deep Convolutional Models", 2021.
"""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gramserve.spec.numbers import Count, Positive

PatchKernel = Literal["exp", "relu", "linear", "square", "poly2", "poly3", "poly4"]
"""The kernels on patches that ckn_kernel knows."""


class CknLayer(BaseModel):
    """One layer of a convolutional kernel network as the ckn_kernel package writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    npatch: Count
    """Patch size in positions."""
    subsampling: Count
    """Step of the pooling in positions."""
    poolfactor: Count | None = None
    """Width of the pooling filter; the subsampling if not given."""
    kernel: PatchKernel = "exp"
    """The kernel on patches."""
    sigma: Positive = 0.65
    """Width of the exp kernel; factor of the linear one, 1 if not given."""
    pooling: Literal["gaussian", "average", "strided"] = "gaussian"
    """The pooling filter."""


def _activation(layer: CknLayer) -> dict[str, Any]:
    match layer.kernel:
        case "exp":
            return {"type": "exp_normalized", "gamma": 1 / layer.sigma**2}
        case "relu":
            return {"type": "relu", "normalized": True}
        case "poly2" | "poly3" | "poly4":
            return {"type": "power", "degree": int(layer.kernel[-1])}
        case "linear":
            factor = layer.sigma if "sigma" in layer.model_fields_set else 1.0
            return {"type": "linear", "factor": factor}
        case "square":
            return {"type": "square"}


def expand_ckn(layers: Iterable[CknLayer], *, ntk: bool) -> list[dict[str, Any]]:
    """Expand a convolutional kernel network to plain layers.

    Parameters
    ----------
    layers : iterable of CknLayer
        From the items to the readout.
    ntk : bool
        Whether a dense layer follows the readout, as the tangent kernel of ckn_kernel has it.

    Returns
    -------
    list of dict
        For each layer ``conv`` sum, an activation and ``ckn_pool``; then ``flatten`` sum. A patch
        of an even size q reads q / 2 positions below its own and q / 2 - 1 above.
    """
    plain: list[dict[str, Any]] = []
    for layer in layers:
        half = layer.npatch // 2
        padding: Any = "same" if layer.npatch % 2 else [[half, half - 1]] * 2
        plain += [
            {"type": "conv", "size": layer.npatch, "average": False, "padding": padding},
            _activation(layer),
            {
                "type": "ckn_pool",
                "kind": layer.pooling,
                "subsampling": layer.subsampling,
                "factor": layer.poolfactor,
            },
        ]
    plain.append({"type": "flatten", "average": False})
    if ntk:
        plain.append({"type": "dense"})
    return plain
