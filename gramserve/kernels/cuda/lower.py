"""From the stages of a network to the steps of a device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gramserve.kernels.cuda.exits import Pools, readout_scale, window_side_by_side
from gramserve.kernels.cuda.links import (
    Link,
    conv_numbers,
    fork_depth,
    has_taps,
    is_local,
    keeps_tiles,
    links_of,
)
from gramserve.kernels.cuda.offsets import Planes, planes_of, scaled, tiles_of
from gramserve.kernels.cuda.steps import (
    Branch,
    Chain,
    ChangeEntries,
    Convolve,
    CopyState,
    KeepTiles,
    MakeProducts,
    NumberChain,
    Offsets,
    PoolAxis,
    PoolTiles,
    StateForm,
    Step,
    Steps,
    SumState,
    SumTiles,
    Taps,
)
from gramserve.kernels.cuda.tiles import TileForm, choose_tile
from gramserve.kernels.cuda.variances import variance_offsets
from gramserve.kernels.pooling import axis_weights
from gramserve.spec import KernelSpec, layers
from gramserve.stages import (
    Fork,
    Offset,
    Stage,
    cut_stages,
)
from gramserve.stages import Step as LayerStep
from gramserve.stages.stage import stride_product


@dataclass(frozen=True)
class Format:
    """What the steps depend on beside the network."""

    early_bytes: int
    """Bytes of a number before the first pool."""
    late_bytes: int
    """Behind it."""
    tangent: bool
    """Whether ``T`` is asked for."""


@dataclass
class _Flow:
    """Where a walk through a stage is: a state, or the items, and layers that wait."""

    state: int | None
    positions: Offset
    is_late: bool
    is_own: bool = False
    """Whether nobody else reads the state, so that it can be changed."""
    links: list[Link] = field(default_factory=list)
    depth: int = 0
    """Forks among the layers that wait, one inside the other."""


def lower(spec: KernelSpec, item_shape: Sequence[int], form: Format) -> Steps:
    """Return the steps of a network for items of one shape.

    Parameters
    ----------
    spec : KernelSpec
        A kernel for which :func:`gramserve.kernels.cuda.activations.find_unsupported` is None.
    item_shape : sequence of int
        Shape of one item.
    form : Format
        Sizes of numbers.

    Returns
    -------
    Steps
        For :mod:`gramserve.kernels.cuda.run`.
    """
    return _Lowering(spec, item_shape, form).lower()


class _Lowering:
    def __init__(self, spec: KernelSpec, item_shape: Sequence[int], form: Format) -> None:
        self._network = cut_stages(spec, item_shape)
        self._form = form
        self._offsets = variance_offsets(spec, item_shape)
        self._numbers: list[float] = []
        self._states: list[StateForm] = []
        self._steps: list[Step] = []
        self._state_numbers: dict[int, int] = {}
        """Our number of a state of the network."""
        self._results = [] if self._network.result is None else [self._network.result]
        self._results += [
            tap.reads for tap in self._network.taps if tap.shared is None and tap.reads is not None
        ]

    def lower(self) -> Steps:
        """Walk through all stages, then through the layers on single numbers."""
        stages = self._network.stages
        ends = [index for index, stage in enumerate(stages) if stage.exit is not None]
        first_late = ends[0] + 1 if ends else len(stages)
        # A state is late where anything that is written into it is.
        self._late = {stage.writes for stage in stages[first_late:]}
        self._late |= {stage.writes for stage in stages if stage.exit is not None}
        for index, stage in enumerate(stages):
            if stage.planes:
                self._add_stage(stage, is_late=index >= first_late)
        return Steps(
            states=tuple(self._states),
            steps=tuple(self._steps),
            tail=tuple(self._tail()),
            results=len(self._results),
            numbers=tuple(self._numbers),
        )

    # States and numbers

    def _keep(self, numbers: Sequence[float]) -> int:
        """Add numbers; return where the first of them is."""
        self._numbers += numbers
        return len(self._numbers) - len(numbers)

    def _new_state(
        self, positions: Offset, offsets: Offsets, *, is_late: bool, is_split: bool = False
    ) -> int:
        self._states.append(StateForm(positions, offsets, is_late, is_split))
        return len(self._states) - 1

    def _needed(self, state: int, positions: Offset) -> Offsets:
        """Return the tiles of a state of the network that later stages read."""
        planes = (stage.read_planes for stage in self._network.stages if stage.reads == state)
        return tiles_of(frozenset().union(*planes), positions)

    def _target(self, stage: Stage, *, is_split: bool = False) -> int:
        """Return our number of the state that a stage writes."""
        if stage.writes not in self._state_numbers:
            offsets = self._needed(stage.writes, stage.behind)
            self._state_numbers[stage.writes] = self._new_state(
                stage.behind, offsets, is_late=stage.writes in self._late, is_split=is_split
            )
        return self._state_numbers[stage.writes]

    # Stages

    def _add_stage(self, stage: Stage, *, is_late: bool) -> None:
        source = None if stage.reads is None else self._state_numbers[stage.reads]
        start = stage.before if stage.front is None else stage.front.before
        if source is not None and self._states[source].is_late != is_late:
            # The early state of a branch that goes on behind another branch's pool.
            form = self._states[source]
            late = self._new_state(form.positions, form.offsets, is_late=is_late)
            self._steps.append(CopyState(source, is_late, late, 1.0, adds=False))
            source = late
        flow = _Flow(source, start, is_late)
        if stage.front is not None:
            self._convolve(flow, stage.front, frozenset(stage.start_planes))
        planes = frozenset(stage.planes)
        self._walk(flow, stage.steps, planes)
        match stage.exit:
            case None:
                target = self._target(stage)
                if self._states[target].is_late != is_late:
                    self._flush(flow, planes=frozenset(stage.planes))
                self._flush(flow, target, weight=stage.weight, adds=stage.adds)
            case layers.AvgPool() | layers.SumPool() | layers.CknPool():
                self._pool(flow, stage, stage.exit)
            case _:
                self._sum(flow, stage)

    def _walk(self, flow: _Flow, steps: Sequence[LayerStep | Fork], planes: Planes) -> None:
        """Take layers of a stage that end with these planes."""
        for index, step in enumerate(steps):
            behind = scaled(planes, stride_product(steps[index + 1 :]))
            if self._can_chain(flow, step):
                depth = fork_depth(step)
                flow.depth = max(flow.depth, depth)
                flow.links += links_of(step)
            elif isinstance(step, Fork):
                self._branch(flow, step, behind)
            elif step.before == step.after and not has_taps(step):
                self._make_own(flow, behind)
                for link in links_of(step):
                    self._change(flow, link)
            else:
                self._convolve(flow, step, behind)
            flow.positions = step.after

    def _can_chain(self, flow: _Flow, step: LayerStep | Fork) -> bool:
        if not keeps_tiles(step):
            return False
        return self._tile(flow, max(flow.depth, fork_depth(step))) is not None

    def _tile(self, flow: _Flow, depth: int, window: int | None = None) -> TileForm | None:
        itemsize = self._form.late_bytes if flow.is_late else self._form.early_bytes
        copies = (1 + self._form.tangent) * (1 + 2 * depth)
        return choose_tile(flow.positions, itemsize, copies=copies, window=window)

    def _flush(
        self,
        flow: _Flow,
        target: int | None = None,
        *,
        planes: Planes = frozenset(),
        weight: float = 1.0,
        adds: bool = False,
    ) -> None:
        """Write what waits into a state: a given one, or one of its own with these planes."""
        is_new = target is None
        if target is None:
            if flow.state is not None and not flow.links:
                return
            offsets = tiles_of(planes, flow.positions)
            target = self._new_state(flow.positions, offsets, is_late=flow.is_late)
        tile = self._tile(flow, flow.depth)
        if flow.links or (flow.state is None and tile is not None):
            assert tile is not None  # noqa: S101 - layers wait only where there is one
            chain = self._chain(flow.links)
            self._steps.append(
                KeepTiles(flow.state, flow.is_late, target, chain, tile, weight, adds)
            )
        elif flow.state is None and is_new:
            self._steps.append(MakeProducts(None, flow.is_late, target))
        else:
            if flow.state is None:
                self._flush(flow, planes=planes_of(self._states[target]))
            self._steps.append(CopyState(flow.state, flow.is_late, target, weight, adds))
        flow.state, flow.is_own, flow.links, flow.depth = target, is_new, [], 0

    def _make_own(self, flow: _Flow, planes: Planes) -> None:
        """Have a state that can be changed in place."""
        self._flush(flow, planes=planes)
        if not flow.is_own:
            offsets = tiles_of(planes, flow.positions)
            own = self._new_state(flow.positions, offsets, is_late=flow.is_late)
            self._steps.append(CopyState(flow.state, flow.is_late, own, 1.0, adds=False))
            flow.state, flow.is_own = own, True

    def _chain(self, links: Sequence[Link]) -> Chain:
        first = len(self._numbers)
        for link in links:
            self._keep(link.numbers)
        variances = [link.variance for link in links if link.variance is not None]
        variance = self._offsets[min(variances)] if variances else 0
        return Chain(tuple(link.type for link in links), first, variance)

    def _change(self, flow: _Flow, link: Link) -> None:
        assert flow.state is not None  # noqa: S101 - made its own before
        self._steps.append(
            ChangeEntries(
                flow.state,
                flow.is_late,
                flow.state,
                self._chain([link]),
                link.position_stride,
                link.behind,
            )
        )

    def _convolve(self, flow: _Flow, step: LayerStep, behind: Planes) -> None:
        """Convolve from state to state; ``behind`` are the planes needed behind it."""
        layer = step.layer
        assert isinstance(layer, layers.Conv | layers.ConvLocal)  # noqa: S101 - others keep sizes
        wraps = layer.padding == "circular"
        # With a fill, planes before it are found by the state's own readers.
        self._flush(flow, planes=scaled(behind, step.strides))
        target = self._new_state(step.after, tiles_of(behind, step.after), is_late=flow.is_late)
        axes = tuple(
            Taps(window.size, window.stride, window.dilation, window.low, window.fill, wraps)
            for window in step.windows
        )
        number = self._keep(conv_numbers(layer))
        self._steps.append(
            Convolve(flow.state, flow.is_late, target, axes, layer.trainable, number)  # type: ignore[arg-type]
        )
        flow.state, flow.is_own, flow.positions = target, True, step.after
        if is_local(layer):
            self._change(flow, Link("Alone", (), None))

    def _branch(self, flow: _Flow, fork: Fork, behind: Planes) -> None:
        """Take branches that do not stay on a tile, or need too many registers."""
        self._flush(flow, planes=scaled(behind, fork.strides))
        target = self._new_state(fork.after, tiles_of(behind, fork.after), is_late=flow.is_late)
        for number, branch in enumerate(fork.branches):
            inner = _Flow(flow.state, flow.positions, flow.is_late)
            self._walk(inner, branch, behind)
            self._flush(inner, target, weight=fork.weight, adds=number > 0)
        flow.state, flow.is_own = target, True

    # Exits

    def _pool(self, flow: _Flow, stage: Stage, layer: Pools) -> None:
        window = window_side_by_side(stage, layer)
        tile = None if window is None else self._tile(flow, flow.depth, window)
        if window is not None and tile is not None:
            target = self._target(stage, is_split=True)
            weight = 1.0 if isinstance(layer, layers.SumPool) else float(window) ** -4
            chain = self._chain(flow.links)
            self._steps.append(
                PoolTiles(flow.state, flow.is_late, target, chain, tile, window, weight)
            )
            return
        self._flush(flow, planes=frozenset(stage.planes))
        target = self._target(stage)
        offsets = self._states[target].offsets
        columns = tiles_of(frozenset(stage.planes), stage.after).columns
        middle = self._new_state(
            (stage.behind[0], stage.after[1]), Offsets(offsets.rows, columns), is_late=True
        )
        for axis, (reads, writes) in enumerate(((flow.state, middle), (middle, target))):
            one = stage.windows[axis]
            weights = self._keep(
                axis_weights(layer, one, stage.after[axis], stage.behind[axis]).ravel().tolist()
            )
            taps = Taps(one.size, one.stride, 1, one.low, 1, wraps=False)
            late = flow.is_late if axis == 0 else True
            self._steps.append(PoolAxis(reads, late, writes, axis, taps, weights))

    def _sum(self, flow: _Flow, stage: Stage) -> None:
        result = self._results.index(stage.writes)
        scale = readout_scale(stage)
        tile = self._tile(flow, flow.depth)
        if tile is not None and (flow.links or flow.state is None):
            offsets = tiles_of(frozenset(stage.planes), flow.positions)
            chain = self._chain(flow.links)
            self._steps.append(
                SumTiles(flow.state, flow.is_late, result, chain, tile, offsets, scale)
            )
            return
        planes = frozenset(stage.planes)
        self._flush(flow, planes=planes)
        assert flow.state is not None  # noqa: S101 - just written
        if self._states[flow.state].offsets != tiles_of(planes, flow.positions):
            own = self._new_state(
                flow.positions, tiles_of(planes, flow.positions), is_late=flow.is_late
            )
            self._steps.append(CopyState(flow.state, flow.is_late, own, 1.0, adds=False))
            flow.state = own
        self._steps.append(SumState(flow.state, flow.is_late, result, scale))

    # Behind the readouts

    def _tail(self) -> Iterable[NumberChain | Branch]:
        network = self._network
        own = [tap for tap in network.taps if tap.shared is None]
        for tap in own:
            assert tap.reads is not None  # noqa: S101 - it has pools of its own
            yield Branch(tap.name, self._results.index(tap.reads))
            yield from self._number_chain(tap.name, tap.tail)
        points = sorted({tap.shared for tap in network.taps if tap.shared is not None})
        start = 0
        for stop in [*points, len(network.tail)]:
            yield from self._number_chain("", network.tail[start:stop])
            for tap in network.taps:
                if tap.shared == stop and stop in points:
                    yield Branch(tap.name, None)
                    yield from self._number_chain(tap.name, tap.tail)
            start = stop
            points = [point for point in points if point > stop]

    def _number_chain(
        self, readout: str, steps: Sequence[LayerStep | Fork]
    ) -> Iterable[NumberChain]:
        links = [link for step in steps for link in links_of(step)]
        if links:
            yield NumberChain(readout, self._chain(links))
