"""Finite-width networks: what is asked of them, and which layers have one.

A finite network stands for a kernel of infinite width only if its kernels tend to that one as
the width grows. This holds while every activation sees Gaussian inputs and branches that are
summed are uncorrelated (Novak et al. 2020, section 3); :func:`finite_faults` names the layers
where it does not.

References
----------
Novak et al., "Neural Tangents: Fast and Easy Infinite Neural Networks in Python", ICLR 2020.
Sohl-Dickstein, Novak, Schoenholz and Lee, "On the infinite width limit of neural networks with
a standard parameterization", 2020.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gramserve.spec import layers
from gramserve.spec.numbers import Count, Whole

Parameterization = Literal["ntk", "standard"]
"""Where the factors of the weights are: in the forward pass, or in their initialisation."""


class FiniteSpec(BaseModel):
    """Networks of finite width whose empirical kernels are averaged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Annotated[Count, Field(le=2**20)] = 256
    """Channels behind every conv, conv_local and dense layer but a final dense one."""
    seed: Annotated[Whole, Field(ge=0)] = 0
    """Which networks: parameters are a function of seed, sample and layer alone."""
    samples: Annotated[Count, Field(le=100_000)] = 8
    """Networks drawn; the kernel is the mean of theirs."""
    outputs: Annotated[Count, Field(le=2**20)] = 1
    """Units of the final dense layer, whose tangent kernels are averaged. A network that ends
    otherwise gets such a layer for its NTK, with weights N(0, 1) that are not trained."""
    parameterization: Parameterization = "ntk"
    """"ntk": parameters N(0, 1), factors in the forward pass. "standard": factors in the
    initialisation; the same networks, but another NTK, which grows with the width."""


LINEAR = (
    layers.Identity, layers.Linear, layers.AvgPool, layers.SumPool, layers.CknPool,
    layers.GlobalAvgPool, layers.GlobalSumPool, layers.Flatten,
)  # fmt: skip
"""Layers without weights that are linear in the channels."""

WEIGHTED = (layers.Conv, layers.ConvLocal, layers.Dense)
"""Layers with weights."""

POINTWISE = (
    layers.Relu, layers.LeakyRelu, layers.AbRelu, layers.Abs, layers.ArcCosine, layers.Erf,
    layers.SigmoidLike, layers.Gelu, layers.Sign, layers.Step, layers.Sin, layers.Cos, layers.Rbf,
    layers.Exp, layers.Gaussian, layers.Gabor, layers.Monomial, layers.Polynomial, layers.Hermite,
    layers.Numeric,
)  # fmt: skip
"""Activations that are functions of one unit."""


@dataclass(frozen=True)
class _Signal:
    """What is known of the units between two layers in the limit of large width."""

    maker: str = ""
    """The layer that made them other than Gaussian; empty for the items themselves."""
    is_gaussian: bool = False
    is_fresh: bool = False
    """Whether weights of this branch were the last but for linear layers: uncorrelated with
    everything outside."""
    is_linear: bool = True
    """Whether the branch has only had linear layers without weights."""


def finite_faults(network: Sequence[layers.Layer], where: str = "layers") -> list[str]:
    """Return why a network has no finite counterpart.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.
    where : str
        Their place in the spec.

    Returns
    -------
    list of str
        ``"layers[3]: square has no finite-width counterpart ..."``, empty when there is nothing
        in the way.
    """
    faults: list[str] = []
    _walk(network, _Signal(), where, faults)
    return faults


def _walk(
    network: Sequence[layers.Layer], signal: _Signal, where: str, faults: list[str]
) -> _Signal:
    for index, layer in enumerate(network):
        signal = _step(layer, signal, f"{where}[{index}]", faults)
    return signal


def _step(layer: layers.Layer, signal: _Signal, here: str, faults: list[str]) -> _Signal:
    if isinstance(layer, layers.Residual | layers.Concat):
        return _join(layer, signal, here, faults)
    if isinstance(layer, WEIGHTED):
        return _Signal(is_gaussian=True, is_fresh=True, is_linear=False)
    if isinstance(layer, layers.Flatten):
        # Channels of different positions have different variances: a mixture of Gaussians.
        return replace(signal, is_gaussian=False, maker=f"{here} (flatten)")
    if isinstance(layer, LINEAR):
        return signal
    if getattr(layer, "project", False):
        faults.append(
            f"{here}: {layer.type} with project has no finite-width counterpart: it divides by "
            "the norms of both items; set project to false or leave the layer out"
        )
    elif not isinstance(layer, (*POINTWISE, layers.LayerNorm)):
        faults.append(
            f"{here}: {layer.type} has no finite-width counterpart: it is no function of single "
            "units; choose another activation or leave finite out of the spec"
        )
    elif not signal.is_gaussian:
        before = f"follows {signal.maker}" if signal.maker else "acts on the items themselves"
        faults.append(
            f"{here}: {layer.type} {before}, with no conv or dense layer between: its inputs are "
            "not Gaussian, and wide networks would not tend to the kernel of this spec; put a "
            "conv of size 1 or a dense layer before it"
        )
    if isinstance(layer, layers.LayerNorm):
        return replace(signal, is_gaussian=True, is_linear=False)
    return _Signal(maker=f"{here} ({layer.type})", is_linear=False)


def _join(
    layer: layers.Residual | layers.Concat, signal: _Signal, here: str, faults: list[str]
) -> _Signal:
    start = replace(signal, is_fresh=False, is_linear=True)
    ends = [
        _walk(branch, start, f"{here}.branches[{number}]", faults)
        for number, branch in enumerate(layer.branches)
    ]
    stale = [number for number, end in enumerate(ends) if not end.is_fresh]
    if isinstance(layer, layers.Residual):
        if len(stale) > 1:
            names = " and ".join(f"branches[{number}]" for number in stale)
            faults.append(
                f"{here}: {names} are correlated, because no weights of their own come last in "
                "them, and wide networks would not tend to the kernel of this spec; at most one "
                "branch may end without a conv or dense layer of its own"
            )
        is_gaussian = all(end.is_gaussian for end in ends)
    else:
        # Channels of different branches have different variances.
        is_gaussian = len(ends) == 1 and ends[0].is_gaussian
    return _Signal(
        maker=next((end.maker for end in ends if end.maker), f"{here} ({layer.type})"),
        is_gaussian=is_gaussian,
        is_fresh=all(end.is_fresh or (end.is_linear and signal.is_fresh) for end in ends),
        is_linear=signal.is_linear and all(end.is_linear for end in ends),
    )


def every_layer(
    network: Sequence[layers.Layer], where: str = "layers"
) -> Iterator[tuple[str, layers.Layer]]:
    """Yield every layer with its place, those of branches included.

    Parameters
    ----------
    network : sequence of Layer
        The layers of a normalised spec.
    where : str
        Their place in the spec.

    Yields
    ------
    (str, Layer)
        ``("layers[1].branches[0][2]", ...)``.
    """
    for index, layer in enumerate(network):
        here = f"{where}[{index}]"
        yield here, layer
        if isinstance(layer, layers.Residual | layers.Concat):
            for number, branch in enumerate(layer.branches):
                yield from every_layer(branch, f"{here}.branches[{number}]")
