"""Stages and the dependence cone: which offset planes of which stage a readout needs.

Entries of a covariance with equal offset ``A = p' - p`` form a plane. Convolutions and
activations map planes to planes, so the layers between two poolings (a *stage*) are evaluated
plane by plane; only pools and the readout look across planes. Walking back from the readout
tells which planes are needed at all: a flatten readout needs one.

Sequences are images one position wide here, and a state without positions is one position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gramserve.spec import KernelSpec, input_positions, layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding

Offset = tuple[int, int]
"""``p' - p`` along both axes."""

Pool = layers.AvgPool | layers.SumPool | layers.CknPool
Readout = layers.GlobalAvgPool | layers.GlobalSumPool | layers.Flatten


@dataclass(frozen=True)
class Window:
    """One axis of a pool or a convolution."""

    size: int
    stride: int
    low: int
    """Positions of padding before the first."""
    dilation: int = 1
    high: int = 0
    """Positions of padding behind the last."""


@dataclass(frozen=True)
class Step:
    """One layer of a stage."""

    layer: layers.Layer
    before: Offset
    """Positions of its input, (height, width)."""
    after: Offset
    """Positions of its output."""
    windows: tuple[Window, Window]
    """Its taps along both axes; one tap for layers without any."""


@dataclass(frozen=True)
class Stage:
    """The layers between two couplings of planes, and what is needed of them."""

    before: Offset
    """Positions at its start."""
    steps: tuple[Step, ...]
    after: Offset
    """Positions at its end."""
    scale: Offset
    """Offset at the start over offset at the end: the product of all strides."""
    exit: Pool | Readout | None
    """What couples its planes; None at the end of the network."""
    windows: tuple[Window, Window]
    """Of the exit, when it is a pool."""
    planes: tuple[Offset, ...]
    """Offsets needed at its end."""

    @property
    def start_planes(self) -> tuple[Offset, ...]:
        """Offsets needed at its start, in the order of ``planes``."""
        down, across = self.scale
        return tuple((down * a, across * b) for a, b in self.planes)


def plane_entries(positions: Offset, offset: Offset) -> int:
    """Return how many entries a plane has.

    Parameters
    ----------
    positions : (int, int)
        Height and width.
    offset : (int, int)
        ``p' - p``.

    Returns
    -------
    int
        ``(H - |a|) (W - |b|)``, 0 for an offset that no two positions have.
    """
    return prod(max(0, length - abs(by)) for length, by in zip(positions, offset, strict=True))


def find_unstaged(spec: KernelSpec) -> str | None:
    """Return which layer cannot be evaluated plane by plane here, or None.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.

    Returns
    -------
    str or None
        ``"layers[3] (residual) ..."``.
    """
    for index, layer in enumerate(spec.layers):
        here = f"layers[{index}] ({layer.type})"
        match layer:
            case layers.Residual() | layers.Concat():
                return f"{here} has branches"
            case layers.Conv(padding="circular"):
                return f"{here} wraps around, which mixes offset planes"
            case layers.Conv() if set(_pair(layer.fill)) != {1}:
                return f"{here} fills its input with zeros"
            case layers.AvgPool() | layers.SumPool() if layer.normalize_edges:
                return f"{here} weights the edges"
            case _:
                pass
    if not any(isinstance(layer, Readout) for layer in spec.layers):
        return "the network has no positions: it is matrix products, not planes"
    return None


def cut_stages(spec: KernelSpec, item_shape: Sequence[int]) -> tuple[Stage, ...]:
    """Cut a network into stages with the planes that its readout needs.

    Parameters
    ----------
    spec : KernelSpec
        A kernel for which :func:`find_unstaged` is None.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    tuple of Stage
        From the items on; the last one ends the network.
    """
    positions = input_positions(spec, item_shape)
    drafts: list[tuple[Offset, list[Step], Offset, Pool | Readout | None, Positions]] = []
    start = _pair(positions)
    steps: list[Step] = []
    for layer in spec.layers:
        after = positions_of(layer, positions)
        if isinstance(layer, Pool | Readout):
            drafts.append((start, steps, _pair(positions), layer, positions))
            start, steps = _pair(after), []
        elif not isinstance(layer, layers.Identity):
            steps.append(Step(layer, _pair(positions), _pair(after), _windows(layer, positions)))
        positions = after
    drafts.append((start, steps, _pair(positions), None, positions))
    stages: list[Stage] = []
    needed: tuple[Offset, ...] = ((0, 0),)
    for start, steps, end, coupling, positions in reversed(drafts):
        windows = _windows(coupling, positions)
        scale = (
            prod(step.windows[0].stride for step in steps),
            prod(step.windows[1].stride for step in steps),
        )
        planes = _planes(coupling, end, windows, needed)
        stage = Stage(start, tuple(steps), end, scale, coupling, windows, planes)
        stages.append(stage)
        needed = stage.start_planes
    return tuple(reversed(stages))


def _planes(
    layer: Pool | Readout | None,
    end: Offset,
    windows: tuple[Window, Window],
    needed: tuple[Offset, ...],
) -> tuple[Offset, ...]:
    height, width = end
    if layer is None or isinstance(layer, layers.Flatten):
        return ((0, 0),)
    if isinstance(layer, layers.GlobalAvgPool | layers.GlobalSumPool):
        return tuple((a, b) for a in range(1 - height, height) for b in range(1 - width, width))
    down, across = windows
    found = {
        (down.stride * a + e, across.stride * b + d)
        for a, b in needed
        for e in range(1 - down.size, down.size)
        for d in range(1 - across.size, across.size)
    }
    return tuple(sorted(plane for plane in found if plane_entries(end, plane)))


def _pair(value: object) -> Offset:
    numbers = value if isinstance(value, tuple) else (value,)
    first, second = (*numbers, 1, 1)[:2]
    return int(first), int(second)


def _per_axis(value: object) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


def _windows(layer: layers.Layer | None, positions: Positions) -> tuple[Window, Window]:
    found: list[Window] = []
    if isinstance(layer, layers.CknPool):
        factor = layer.factor or layer.subsampling
        sizes = {
            "gaussian": 2 * factor + 1, "average": factor, "strided": layer.subsampling + 1
        }  # fmt: skip
        found = [Window(sizes[layer.kind], layer.subsampling, 0) for _ in positions]
    elif isinstance(layer, layers.Conv | layers.AvgPool | layers.SumPool):
        if isinstance(layer, layers.Conv):
            taps, dilations = _per_axis(layer.size), _per_axis(layer.dilation)
        else:
            taps, dilations = _per_axis(layer.window), (1,) * len(positions)
        padding = resolve_padding(layer, positions)
        axes = zip(taps, _per_axis(layer.strides), dilations, padding, strict=True)
        found = [Window(*axis[:2], axis[3][0], axis[2], axis[3][1]) for axis in axes]
    first, second = (*found, Window(1, 1, 0), Window(1, 1, 0))[:2]
    return first, second
