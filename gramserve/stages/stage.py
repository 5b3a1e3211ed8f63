"""What a network is cut into: steps, forks, stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from gramserve.spec import layers
from gramserve.stages.windows import Offset, Windows

Pool = layers.AvgPool | layers.SumPool | layers.CknPool
Readout = layers.GlobalAvgPool | layers.GlobalSumPool | layers.Flatten


@dataclass(frozen=True)
class Step:
    """One layer of a stage."""

    layer: layers.Layer
    before: Offset
    """Positions of its input, (height, width)."""
    after: Offset
    """Positions of its output."""
    windows: Windows
    """Its taps along both axes."""
    variance: int | None
    """Where its variances begin among an item's, in the order of the spec; None without any."""

    @property
    def strides(self) -> Offset:
        """Offset before it over offset behind it."""
        down, across = self.windows
        return down.stride, across.stride


@dataclass(frozen=True)
class Fork:
    """Branches that stay on their plane, and are added up."""

    branches: tuple[tuple["Step | Fork", ...], ...]
    weight: float
    """Factor of the sum: 1, or one over the branches for concatenated channels."""
    after: Offset
    """Positions of the sum."""

    @property
    def strides(self) -> Offset:
        """Offset before it over offset behind it: all branches have the same."""
        return stride_product(self.branches[0])


@dataclass(frozen=True)
class Stage:
    """The layers between two couplings of planes, and what is needed of them."""

    reads: int | None
    """State that it reads; None for the items."""
    writes: int
    """State that it writes."""
    adds: bool
    """Whether it adds to what an earlier stage wrote there."""
    front: Step | None
    """A convolution that wraps around or fills its input with zeros: it reads the state itself."""
    before: Offset
    """Positions at its start, behind ``front``."""
    steps: tuple[Step | Fork, ...]
    after: Offset
    """Positions at its end."""
    scale: Offset
    """Offset at the start over offset at the end: the product of all strides."""
    exit: Pool | Readout | None
    """What couples its planes; None where they are written as they are."""
    weight: float
    """Factor of what is written."""
    windows: Windows
    """Of the exit, when it is a pool."""
    behind: Offset
    """Positions of the state it writes."""
    planes: tuple[Offset, ...]
    """Offsets needed at its end, (0, 0) first, then column by column."""

    @property
    def start_planes(self) -> tuple[Offset, ...]:
        """Offsets needed at its start, in the order of ``planes``."""
        down, across = self.scale
        return tuple((down * a, across * b) for a, b in self.planes)

    @property
    def read_planes(self) -> frozenset[Offset]:
        """Offsets of the state it reads."""
        if self.front is None:
            return frozenset(self.start_planes)
        positions, circular = self.front.before, self.front.layer.padding == "circular"  # type: ignore[union-attr]
        found: set[Offset] = set()
        for plane in self.start_planes:
            axes: list[list[int]] = []
            for offset, window, length in zip(plane, self.front.windows, positions, strict=True):
                source = offset * window.stride
                if circular:
                    axes.append([source % length, source % length - length])
                else:
                    axes.append([] if source % window.fill else [source // window.fill])
            found.update((a, b) for a in axes[0] for b in axes[1])
        return frozenset(plane for plane in found if plane_entries(positions, plane))


@dataclass(frozen=True)
class Tap:
    """A readout that branches off a network."""

    name: str
    reads: int | None
    """State that holds its numbers behind its own pools; None for the products of vectors."""
    shared: int | None
    """Layers of the network's tail that it shares, where it branches off behind the network's own
    last state; None where it has a state of its own."""
    tail: tuple[Step | Fork, ...]
    """Its layers on single numbers."""


@dataclass(frozen=True)
class Stages:
    """A network, cut."""

    stages: tuple[Stage, ...]
    """In the order in which they run; the last one reads out. None without positions."""
    tail: tuple[Step | Fork, ...]
    """The layers on single numbers: behind the last readout, or all without positions."""
    taps: tuple[Tap, ...]
    """The readouts that branch off, in the order of the spec."""
    result: int | None
    """State that holds the numbers before the tail; None for the products of vectors."""

    def steps(self) -> Iterator[tuple[Stage | None, Step]]:
        """Yield every layer with its stage, those of branches included; fronts first."""
        for stage in self.stages:
            if stage.front is not None:
                yield stage, stage.front
            for step in flat_steps(stage.steps):
                yield stage, step
        for steps in (self.tail, *(tap.tail for tap in self.taps)):
            for step in flat_steps(steps):
                yield None, step


def flat_steps(steps: Sequence[Step | Fork]) -> Iterator[Step]:
    """Yield the layers of a stage, branch by branch."""
    for step in steps:
        if isinstance(step, Fork):
            for branch in step.branches:
                yield from flat_steps(branch)
        else:
            yield step


def stride_product(steps: Sequence[Step | Fork]) -> Offset:
    """Return the offset before steps over the offset behind them."""
    return prod(step.strides[0] for step in steps), prod(step.strides[1] for step in steps)


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
