"""A network as the steps of a device: what each kernel reads and writes."""

from dataclasses import dataclass

from gramserve.kernels.cuda.tiles import TileForm
from gramserve.stages import Offset


@dataclass(frozen=True)
class Offsets:
    """Offsets modulo the image size, as a product of rows and columns."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class StateForm:
    """What lies between two steps: tiles of all pairs of a batch."""

    positions: Offset
    """Height and width."""
    offsets: Offsets
    """Tiles that are kept."""
    is_late: bool
    """Whether it is of the dtype behind the first pool."""
    is_split: bool = False
    """Whether it has two parts, as fused pools write them."""

    @property
    def entries(self) -> int:
        """Numbers of one pair, of ``S`` or of ``T``, both parts counted."""
        height, width = self.positions
        return len(self.offsets) * height * width * (1 + self.is_split)


@dataclass(frozen=True)
class Taps:
    """One axis of a convolution: output o reads (stride o + dilation t - low) / fill."""

    size: int
    stride: int
    dilation: int
    low: int
    fill: int
    wraps: bool


@dataclass(frozen=True)
class Chain:
    """Layers that stay on a tile."""

    layers: tuple[str, ...]
    """C++ types, in order."""
    number: int = 0
    """The first of their numbers."""
    variance: int = 0
    """The first of their variances."""


@dataclass(frozen=True)
class Step:
    """One launch."""

    reads: int | None
    """State; None for the items."""
    is_late: bool
    """Whether it computes in the dtype behind the first pool."""


@dataclass(frozen=True)
class KeepTiles(Step):
    """Tiles through a chain, kept."""

    writes: int
    chain: Chain
    tile: TileForm
    weight: float
    adds: bool


@dataclass(frozen=True)
class PoolTiles(Step):
    """Tiles through a chain, and pooled by windows that lie side by side."""

    writes: int
    chain: Chain
    tile: TileForm
    window: int
    weight: float


@dataclass(frozen=True)
class SumTiles(Step):
    """Tiles through a chain, and added up."""

    result: int
    chain: Chain
    tile: TileForm
    offsets: Offsets
    weight: float


@dataclass(frozen=True)
class MakeProducts(Step):
    """Products of the items' vectors, kept."""

    writes: int


@dataclass(frozen=True)
class ChangeEntries(Step):
    """One layer without neighbours, in place."""

    writes: int
    chain: Chain
    position_stride: int
    """0 where one variance serves all positions."""
    behind: int
    """Where the chain's cursor stands: 1 behind the variances of an activation."""


@dataclass(frozen=True)
class Convolve(Step):
    """A convolution from one state to another."""

    writes: int
    axes: tuple[Taps, Taps]
    is_trained: bool
    number: int


@dataclass(frozen=True)
class PoolAxis(Step):
    """A pool along one axis of both positions."""

    writes: int
    axis: int
    taps: Taps
    weights: int
    """Where its weights are among the numbers, (outputs, taps)."""


@dataclass(frozen=True)
class CopyState(Step):
    """A state weighted, into or onto another one."""

    writes: int
    weight: float
    adds: bool


@dataclass(frozen=True)
class SumState(Step):
    """A state added up."""

    result: int
    weight: float


@dataclass(frozen=True)
class NumberChain:
    """Layers on single numbers behind a readout, in place on a block."""

    readout: str
    """Whose numbers; the network itself is ``""``."""
    chain: Chain


@dataclass(frozen=True)
class Branch:
    """A readout that takes a copy of numbers of the network before going on by itself."""

    readout: str
    result: int | None
    """Which result it begins with; None: the network's numbers as they are at this point."""


@dataclass(frozen=True)
class Steps:
    """A network, ready for a device."""

    states: tuple[StateForm, ...]
    steps: tuple[Step, ...]
    """For every batch of pairs, in order."""
    tail: tuple[NumberChain | Branch, ...]
    """For the whole block."""
    results: int
    """Numbers of a pair behind the readouts; none for vectors."""
    numbers: tuple[float, ...]
    """Constants of the layers."""

    def last_use(self) -> dict[int, int]:
        """Return the last step that reads or writes each state."""
        found: dict[int, int] = {}
        for index, step in enumerate(self.steps):
            for state in (step.reads, getattr(step, "writes", None)):
                if state is not None:
                    found[state] = index
        return found

    def entries_at_once(self, *, is_late: bool) -> int:
        """Return the most numbers of one pair in states that exist together, of one dtype."""
        last, most = self.last_use(), 0
        for index in range(len(self.steps)):
            alive = [
                form.entries
                for number, form in enumerate(self.states)
                if form.is_late == is_late and self._first_use(number) <= index <= last[number]
            ]
            most = max(most, sum(alive))
        return most

    def _first_use(self, state: int) -> int:
        return next(
            index
            for index, step in enumerate(self.steps)
            if state in {step.reads, getattr(step, "writes", None)}
        )
