"""From the stages of a network to the steps of a device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from gramserve.kernels.convolution import patch_scale
from gramserve.kernels.cuda.activations import functor_of
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
from gramserve.kernels.cuda.variances import VARIANCE_STEP, variance_offsets
from gramserve.kernels.pooling import axis_weights
from gramserve.spec import KernelSpec, layers
from gramserve.stages import (
    Fork,
    Offset,
    Stage,
    averages_variances,
    cut_stages,
)
from gramserve.stages import Step as LayerStep
from gramserve.stages.stage import stride_product

LARGEST_WINDOW = 4
"""Of pools that are done along with the tiles: there is code for every place in a window."""

Planes = frozenset[Offset]
_Pools = layers.AvgPool | layers.SumPool | layers.CknPool


@dataclass(frozen=True)
class Format:
    """What the steps depend on beside the network."""

    early_bytes: int
    """Bytes of a number before the first pool."""
    late_bytes: int
    """Behind it."""
    tangent: bool
    """Whether ``T`` is asked for."""


@dataclass(frozen=True)
class _Link:
    """One layer of a chain."""

    type: str
    numbers: tuple[float, ...]
    variance: int | None
    """The first of its variances; None without any."""
    position_stride: int = 1
    behind: int = 0


@dataclass
class _Flow:
    """Where a walk through a stage is: a state, or the items, and layers that wait."""

    state: int | None
    positions: Offset
    is_late: bool
    is_own: bool = False
    """Whether nobody else reads the state, so that it can be changed."""
    links: list[_Link] = field(default_factory=list)
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
        return _tiles(frozenset().union(*planes), positions)

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
            behind = _scaled(planes, stride_product(steps[index + 1 :]))
            if self._can_chain(flow, step):
                depth = _fork_depth(step)
                flow.depth = max(flow.depth, depth)
                flow.links += self._links(step)
            elif isinstance(step, Fork):
                self._branch(flow, step, behind)
            elif step.before == step.after and not _has_taps(step):
                self._make_own(flow, behind)
                for link in self._links(step):
                    self._change(flow, link)
            else:
                self._convolve(flow, step, behind)
            flow.positions = step.after

    def _can_chain(self, flow: _Flow, step: LayerStep | Fork) -> bool:
        if not _keeps_tiles(step):
            return False
        return self._tile(flow, max(flow.depth, _fork_depth(step))) is not None

    def _tile(self, flow: _Flow, depth: int, window: int | None = None) -> TileForm | None:
        itemsize = self._form.late_bytes if flow.is_late else self._form.early_bytes
        copies = (1 + self._form.tangent) * (1 + 2 * depth)
        return choose_tile(flow.positions, itemsize, copies=copies, window=window)

    def _links(self, step: LayerStep | Fork) -> list[_Link]:
        """Return a layer as members of a chain."""
        if isinstance(step, Fork):
            branches = [
                [link for inner in branch for link in self._links(inner)]
                for branch in step.branches
            ]
            inside = [link for branch in branches for link in branch]
            types = ", ".join(_chain_type([link.type for link in branch]) for branch in branches)
            numbers = [number for link in inside for number in link.numbers]
            firsts = [link.variance for link in inside if link.variance is not None]
            return [_Link(f"Fork<{types}>", (*numbers, step.weight), min(firsts, default=None))]
        layer = step.layer
        match layer:
            case layers.Conv() | layers.ConvLocal() | layers.Dense():
                axes = ", ".join(
                    f"Axis<{window.size}, {window.low}, {window.dilation}>"
                    for window in step.windows
                )
                trained = str(layer.trainable).lower()
                links = [_Link(f"Conv<{axes}, {trained}>", _conv_numbers(layer), None)]
                return [*links, _Link("Alone", (), None)] if _is_local(layer) else links
            case layers.Linear():
                scale = (layer.factor, 0.0)
                return [_Link("Conv<Axis<1, 0, 1>, Axis<1, 0, 1>, false>", scale, None)]
        return _dual_links(step)

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
            offsets = _tiles(planes, flow.positions)
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
                self._flush(flow, planes=_all_planes(self._states[target]))
            self._steps.append(CopyState(flow.state, flow.is_late, target, weight, adds))
        flow.state, flow.is_own, flow.links, flow.depth = target, is_new, [], 0

    def _make_own(self, flow: _Flow, planes: Planes) -> None:
        """Have a state that can be changed in place."""
        self._flush(flow, planes=planes)
        if not flow.is_own:
            offsets = _tiles(planes, flow.positions)
            own = self._new_state(flow.positions, offsets, is_late=flow.is_late)
            self._steps.append(CopyState(flow.state, flow.is_late, own, 1.0, adds=False))
            flow.state, flow.is_own = own, True

    def _chain(self, links: Sequence[_Link]) -> Chain:
        first = len(self._numbers)
        for link in links:
            self._keep(link.numbers)
        variances = [link.variance for link in links if link.variance is not None]
        variance = self._offsets[min(variances)] if variances else 0
        return Chain(tuple(link.type for link in links), first, variance)

    def _change(self, flow: _Flow, link: _Link) -> None:
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
        self._flush(flow, planes=_scaled(behind, step.strides))
        target = self._new_state(step.after, _tiles(behind, step.after), is_late=flow.is_late)
        axes = tuple(
            Taps(window.size, window.stride, window.dilation, window.low, window.fill, wraps)
            for window in step.windows
        )
        number = self._keep(_conv_numbers(layer))
        self._steps.append(
            Convolve(flow.state, flow.is_late, target, axes, layer.trainable, number)  # type: ignore[arg-type]
        )
        flow.state, flow.is_own, flow.positions = target, True, step.after
        if _is_local(layer):
            self._change(flow, _Link("Alone", (), None))

    def _branch(self, flow: _Flow, fork: Fork, behind: Planes) -> None:
        """Take branches that do not stay on a tile, or need too many registers."""
        self._flush(flow, planes=_scaled(behind, fork.strides))
        target = self._new_state(fork.after, _tiles(behind, fork.after), is_late=flow.is_late)
        for number, branch in enumerate(fork.branches):
            inner = _Flow(flow.state, flow.positions, flow.is_late)
            self._walk(inner, branch, behind)
            self._flush(inner, target, weight=fork.weight, adds=number > 0)
        flow.state, flow.is_own = target, True

    # Exits

    def _pool(self, flow: _Flow, stage: Stage, layer: _Pools) -> None:
        window = _window_side_by_side(stage, layer)
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
        columns = _tiles(frozenset(stage.planes), stage.after).columns
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
        scale = _readout_scale(stage)
        tile = self._tile(flow, flow.depth)
        if tile is not None and (flow.links or flow.state is None):
            offsets = _tiles(frozenset(stage.planes), flow.positions)
            chain = self._chain(flow.links)
            self._steps.append(
                SumTiles(flow.state, flow.is_late, result, chain, tile, offsets, scale)
            )
            return
        planes = frozenset(stage.planes)
        self._flush(flow, planes=planes)
        assert flow.state is not None  # noqa: S101 - just written
        if self._states[flow.state].offsets != _tiles(planes, flow.positions):
            own = self._new_state(
                flow.positions, _tiles(planes, flow.positions), is_late=flow.is_late
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
        links = [link for step in steps for link in self._links(step)]
        if links:
            yield NumberChain(readout, self._chain(links))


def _conv_numbers(layer: layers.Conv | layers.ConvLocal | layers.Dense) -> tuple[float, float]:
    factor = layer.w_std**2
    if not isinstance(layer, layers.Dense):
        factor *= patch_scale(layer)
    return factor, layer.b_std**2


def _is_local(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.ConvLocal)


def _dual_links(step: LayerStep) -> list[_Link]:
    """Return an activation, and its projection, as members of a chain."""
    layer = step.layer
    functor, numbers = functor_of(layer)
    functor = functor.removeprefix("gramserve::")
    if isinstance(layer, layers.Square):
        return [_Link(f"DualAlone<{functor}>", numbers, None)]
    if averages_variances(layer) and step.before != (1, 1):
        return [_Link(f"DualOfMean<{functor}>", numbers, step.variance, position_stride=0)]
    links = [_Link(f"Dual<{functor}>", numbers, step.variance)]
    if getattr(layer, "project", False):
        # It looks back at the variances of the activation before it.
        links.append(_Link("Projection", (), step.variance, behind=VARIANCE_STEP))
    return links


def _has_taps(step: LayerStep) -> bool:
    return any(window.size > 1 for window in step.windows)


def _keeps_tiles(step: LayerStep | Fork) -> bool:
    """Return whether a layer takes a cyclic tile to the same cyclic tile."""
    if isinstance(step, Fork):
        return all(_keeps_tiles(inner) for branch in step.branches for inner in branch)
    if step.before != step.after or getattr(step.layer, "padding", "") == "circular":
        return False
    return all(window.stride == window.fill == 1 for window in step.windows)


def _fork_depth(step: LayerStep | Fork) -> int:
    if not isinstance(step, Fork):
        return 0
    return 1 + max((_fork_depth(inner) for branch in step.branches for inner in branch), default=0)


def _chain_type(types: Sequence[str]) -> str:
    return f"Chain<{', '.join(types)}>"


def _scaled(planes: Planes, strides: Offset) -> Planes:
    return frozenset((strides[0] * a, strides[1] * b) for a, b in planes)


def _tiles(planes: Planes, positions: Offset) -> Offsets:
    """Return the cyclic tiles that contain planes, as a product."""
    height, width = positions
    rows = tuple(sorted({a % height for a, _ in planes}))
    return Offsets(rows, tuple(sorted({b % width for _, b in planes})))


def _all_planes(form: StateForm) -> Planes:
    return frozenset((a, b) for a in form.offsets.rows for b in form.offsets.columns)


def _window_side_by_side(stage: Stage, layer: _Pools) -> int | None:
    """Return the size of square windows that cover the image once, or None."""
    sizes = {(window.size, window.stride, window.low) for window in stage.windows}
    if len(sizes) != 1:
        return None
    ((size, stride, low),) = sizes
    if size != stride or low != 0 or not 2 <= size <= LARGEST_WINDOW:
        return None
    if tuple(size * length for length in stage.behind) != stage.after:
        return None
    return size if not isinstance(layer, layers.CknPool) or layer.kind == "average" else None


def _readout_scale(stage: Stage) -> float:
    count = prod(stage.after)
    match stage.exit:
        case layers.Flatten(average=True):
            return 1 / count
        case layers.GlobalAvgPool():
            return 1 / count**2
        case _:
            return 1.0
