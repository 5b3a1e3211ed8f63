"""Stages and the dependence cone: which offset planes of which stage a readout needs.

Entries of a covariance with equal offset ``A = p' - p`` form a plane. Convolutions and
activations map planes to planes, so the layers between two poolings (a *stage*) are evaluated
plane by plane; only pools and readouts look across planes, and convolutions that wrap around,
which read two planes that are one modulo the size. Walking back from the readout tells which
planes are needed at all: a flatten readout needs one.

Between stages lie *states*: all planes that a later stage reads. Branches that stay on their
plane are part of a stage (:class:`Fork`); other branches are stages of their own that add to one
state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from gramserve.spec import KernelSpec, input_positions, layers
from gramserve.spec import Readout as SpecReadout
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages.activations import uses_variances, variance_count
from gramserve.stages.stage import (
    Fork,
    Pool,
    Readout,
    Stage,
    Stages,
    Step,
    Tap,
    flat_steps,
    plane_entries,
    stride_product,
)
from gramserve.stages.windows import Offset, as_pair, windows_of


def cut_stages(
    spec: KernelSpec, item_shape: Sequence[int], *, for_variances: bool = False
) -> Stages:
    """Cut a network into stages with the planes that its readout needs.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    for_variances : bool
        Find the planes that the variances of an item need instead, which are entries of offset
        (0, 0) at every activation.

    Returns
    -------
    Stages
        A stage that nothing is needed of has no planes.
    """
    positions = input_positions(spec, item_shape)
    cutter = _Cutter()
    draft = _Draft(None, as_pair(positions), positions)
    taps: dict[str, Tap] = {}
    for index in range(len(spec.layers) + 1):
        for readout in spec.readouts:
            if readout.after == index:
                draft, taps[readout.name] = cutter.tap(readout, draft, positions)
        draft, positions = cutter.walk(spec.layers[index : index + 1], draft, positions)
    tail = tuple(draft.steps)
    needed: dict[int | None, set[Offset]] = {}
    ends = [(draft.reads, tail), *((tap.reads, tap.tail) for tap in taps.values())]
    for state, steps in ends:
        if state is not None and (
            not for_variances or any(step.variance is not None for step in flat_steps(steps))
        ):
            needed[state] = {(0, 0)}
    stages: list[Stage] = []
    for stage in reversed(cutter.stages):
        planes = _planes(stage, needed.get(stage.writes, set()))
        inside = (stage.front, *flat_steps(stage.steps))
        if for_variances and (
            planes or any(step is not None and step.variance is not None for step in inside)
        ):
            planes |= {(0, 0)}
        ordered = sorted(planes, key=lambda plane: (plane != (0, 0), plane[1], plane[0]))
        stages.append(replace(stage, planes=tuple(ordered)))
        needed.setdefault(stage.reads, set()).update(stages[-1].read_planes)
    ordered_taps = tuple(taps[readout.name] for readout in spec.readouts)
    return Stages(tuple(reversed(stages)), tail, ordered_taps, draft.reads)


def _planes(stage: Stage, needed: set[Offset]) -> set[Offset]:
    """Return the offsets that a stage must end with for what is needed of what it writes."""
    height, width = stage.after
    match stage.exit:
        case _ if not needed:
            return set()
        case layers.Flatten():
            return {(0, 0)}
        case layers.GlobalAvgPool() | layers.GlobalSumPool():
            return {(a, b) for a in range(1 - height, height) for b in range(1 - width, width)}
        case None:
            found = needed
        case _:
            down, across = stage.windows
            found = {
                (down.stride * a + e, across.stride * b + d)
                for a, b in needed
                for e in range(1 - down.size, down.size)
                for d in range(1 - across.size, across.size)
            }
    return {plane for plane in found if plane_entries(stage.after, plane)}


@dataclass
class _Draft:
    """A stage that is being collected."""

    reads: int | None
    start: Offset
    positions: Positions
    front: Step | None = None

    def __post_init__(self) -> None:
        self.steps: list[Step | Fork] = []

    @property
    def is_state(self) -> bool:
        """Whether nothing has happened since a state was read."""
        return self.reads is not None and not self.steps and self.front is None


class _Cutter:
    """Walks a network and collects its stages, without planes yet."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._states = 0
        self._variances = 0

    def walk(
        self, network: Sequence[layers.Layer], draft: _Draft, positions: Positions
    ) -> tuple[_Draft, Positions]:
        """Take layers into a draft; return the draft that is open behind them."""
        for layer in network:
            after = positions_of(layer, positions)
            match layer:
                case layers.Identity():
                    pass
                case layers.Residual() | layers.Concat() if not _stays_on_plane(layer, positions):
                    draft = self._branch(layer, draft, positions, after)
                case layers.Residual() | layers.Concat():
                    draft.steps.append(self._fork(layer, positions))
                case (
                    layers.AvgPool()
                    | layers.SumPool()
                    | layers.CknPool()
                    | layers.GlobalAvgPool()
                    | layers.GlobalSumPool()
                    | layers.Flatten()
                ):
                    state = self._close(draft, positions, self._new_state(), layer, after)
                    draft = _Draft(state, as_pair(after), after)
                case layers.Conv() | layers.ConvLocal() if wraps_or_fills(layer):
                    state = self._keep(draft, positions)
                    draft = _Draft(state, as_pair(after), after, self._step(layer, positions))
                case _:
                    draft.steps.append(self._step(layer, positions))
            positions = after
        return draft, positions

    def tap(self, readout: SpecReadout, draft: _Draft, positions: Positions) -> tuple[_Draft, Tap]:
        """Let a readout branch off; return the draft that goes on, and what it has of its own."""
        if not positions:
            inner, _ = self.walk(readout.layers, _Draft(draft.reads, (1, 1), ()), ())
            return draft, Tap(readout.name, draft.reads, len(draft.steps), tuple(inner.steps))
        state = self._keep(draft, positions)
        start = _Draft(state, as_pair(positions), positions)
        inner, _ = self.walk(readout.layers, start, positions)
        tap = Tap(readout.name, inner.reads, None, tuple(inner.steps))
        return _Draft(state, as_pair(positions), positions), tap

    def _new_state(self) -> int:
        self._states += 1
        return self._states - 1

    def _step(self, layer: layers.Layer, positions: Positions) -> Step:
        variance = self._variances if uses_variances(layer) else None
        self._variances += variance_count(layer, prod(positions))
        return Step(
            layer,
            as_pair(positions),
            as_pair(positions_of(layer, positions)),
            windows_of(layer, positions),
            variance,
        )

    def _fork(self, layer: layers.Residual | layers.Concat, positions: Positions) -> Fork:
        branches = []
        for branch in layer.branches:
            draft, _ = self.walk(branch, _Draft(None, as_pair(positions), positions), positions)
            branches.append(tuple(draft.steps))
        after = as_pair(positions_of(layer, positions))
        return Fork(tuple(branches), _branch_weight(layer), after)

    def _keep(self, draft: _Draft, positions: Positions) -> int:
        """Return a state with the planes at the end of a draft, as they are."""
        if draft.is_state:
            assert draft.reads is not None  # noqa: S101 - that is what is_state says
            return draft.reads
        return self._close(draft, positions, self._new_state(), None, positions)

    def _branch(
        self,
        layer: layers.Residual | layers.Concat,
        draft: _Draft,
        positions: Positions,
        after: Positions,
    ) -> _Draft:
        before, state = self._keep(draft, positions), self._new_state()
        for number, branch in enumerate(layer.branches):
            inner, end = self.walk(branch, _Draft(before, as_pair(positions), positions), positions)
            self._close(
                inner, end, state, None, after, adds=number > 0, weight=_branch_weight(layer)
            )
        return _Draft(state, as_pair(after), after)

    def _close(
        self,
        draft: _Draft,
        positions: Positions,
        state: int,
        coupling: Pool | Readout | None,
        after: Positions,
        *,
        adds: bool = False,
        weight: float = 1.0,
    ) -> int:
        steps = tuple(draft.steps)
        self.stages.append(
            Stage(
                reads=draft.reads,
                writes=state,
                adds=adds,
                front=draft.front,
                before=draft.start,
                steps=steps,
                after=as_pair(positions),
                scale=stride_product(steps),
                exit=coupling,
                weight=weight,
                windows=windows_of(coupling, positions),
                behind=as_pair(after),
                planes=(),
            )
        )
        return state


def _branch_weight(layer: layers.Residual | layers.Concat) -> float:
    return 1 / len(layer.branches) if isinstance(layer, layers.Concat) else 1.0


def wraps_or_fills(layer: layers.Layer) -> bool:
    """Return whether a convolution maps planes to several, or to parts of planes.

    Parameters
    ----------
    layer : Layer
        Any layer.

    Returns
    -------
    bool
        True for circular padding, and for zeros between the positions.
    """
    return isinstance(layer, layers.Conv | layers.ConvLocal) and (
        layer.padding == "circular" or set(as_pair(layer.fill)) != {1}
    )


def _stays_on_plane(layer: layers.Residual | layers.Concat, positions: Positions) -> bool:
    """Return whether all branches take a plane to the same plane."""
    strides = {_plane_strides(branch, positions) for branch in layer.branches}
    return len(strides) == 1 and None not in strides


def _plane_strides(network: Sequence[layers.Layer], positions: Positions) -> Offset | None:
    """Return the strides of layers that map planes to planes, None where some do not."""
    down = across = 1
    for layer in network:
        if isinstance(layer, Pool | Readout) or wraps_or_fills(layer):
            return None
        if isinstance(layer, layers.Residual | layers.Concat):
            if not _stays_on_plane(layer, positions):
                return None
            strides = _plane_strides(layer.branches[0], positions)
        else:
            first, second = (window.stride for window in windows_of(layer, positions))
            strides = (first, second)
        if strides is None:
            return None
        down, across = down * strides[0], across * strides[1]
        positions = positions_of(layer, positions)
    return down, across
