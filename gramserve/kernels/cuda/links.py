"""Layers as members of a chain: their C++ types, numbers and variances."""

from collections.abc import Sequence
from dataclasses import dataclass

from gramserve.kernels.convolution import patch_scale
from gramserve.kernels.cuda.activations import functor_of
from gramserve.kernels.cuda.variances import VARIANCE_STEP
from gramserve.spec import layers
from gramserve.stages import Fork, averages_variances
from gramserve.stages import Step as LayerStep


@dataclass(frozen=True)
class Link:
    """One layer of a chain."""

    type: str
    """Its C++ type."""
    numbers: tuple[float, ...]
    """What it reads of the constants."""
    variance: int | None
    """The first of its variances; None without any."""
    position_stride: int = 1
    """0 where one variance serves all positions."""
    behind: int = 0
    """Where the cursor of variances stands for it."""


def links_of(step: LayerStep | Fork) -> list[Link]:
    """Return a layer as members of a chain."""
    if isinstance(step, Fork):
        branches = [
            [link for inner in branch for link in links_of(inner)] for branch in step.branches
        ]
        inside = [link for branch in branches for link in branch]
        types = ", ".join(_chain_type([link.type for link in branch]) for branch in branches)
        numbers = [number for link in inside for number in link.numbers]
        firsts = [link.variance for link in inside if link.variance is not None]
        return [Link(f"Fork<{types}>", (*numbers, step.weight), min(firsts, default=None))]
    layer = step.layer
    match layer:
        case layers.Conv() | layers.ConvLocal() | layers.Dense():
            axes = ", ".join(
                f"Axis<{window.size}, {window.low}, {window.dilation}>" for window in step.windows
            )
            trained = str(layer.trainable).lower()
            links = [Link(f"Conv<{axes}, {trained}>", conv_numbers(layer), None)]
            return [*links, Link("Alone", (), None)] if is_local(layer) else links
        case layers.Linear():
            scale = (layer.factor, 0.0)
            return [Link("Conv<Axis<1, 0, 1>, Axis<1, 0, 1>, false>", scale, None)]
    return _dual_links(step)


def conv_numbers(layer: layers.Conv | layers.ConvLocal | layers.Dense) -> tuple[float, float]:
    """Return the factor of a sum over taps, ``w^2 n``, and what is added, ``b^2``."""
    factor = layer.w_std**2
    if not isinstance(layer, layers.Dense):
        factor *= patch_scale(layer)
    return factor, layer.b_std**2


def is_local(layer: layers.Layer) -> bool:
    """Return whether different positions of a layer have nothing in common."""
    return isinstance(layer, layers.ConvLocal)


def _dual_links(step: LayerStep) -> list[Link]:
    """Return an activation, and its projection, as members of a chain."""
    layer = step.layer
    functor, numbers = functor_of(layer)
    functor = functor.removeprefix("gramserve::")
    if isinstance(layer, layers.Square):
        return [Link(f"DualAlone<{functor}>", numbers, None)]
    if averages_variances(layer) and step.before != (1, 1):
        return [Link(f"DualOfMean<{functor}>", numbers, step.variance, position_stride=0)]
    links = [Link(f"Dual<{functor}>", numbers, step.variance)]
    if getattr(layer, "project", False):
        # It looks back at the variances of the activation before it.
        links.append(Link("Projection", (), step.variance, behind=VARIANCE_STEP))
    return links


def has_taps(step: LayerStep) -> bool:
    """Return whether a layer reads neighbours."""
    return any(window.size > 1 for window in step.windows)


def keeps_tiles(step: LayerStep | Fork) -> bool:
    """Return whether a layer takes a cyclic tile to the same cyclic tile."""
    if isinstance(step, Fork):
        return all(keeps_tiles(inner) for branch in step.branches for inner in branch)
    if step.before != step.after or getattr(step.layer, "padding", "") == "circular":
        return False
    return all(window.stride == window.fill == 1 for window in step.windows)


def fork_depth(step: LayerStep | Fork) -> int:
    """Return how many forks lie inside each other."""
    if not isinstance(step, Fork):
        return 0
    return 1 + max((fork_depth(inner) for branch in step.branches for inner in branch), default=0)


def _chain_type(types: Sequence[str]) -> str:
    return f"Chain<{', '.join(types)}>"
