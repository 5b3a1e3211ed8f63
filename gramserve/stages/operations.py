"""What one pair of items costs when its covariance is evaluated densely.

Counts are exact for the dense evaluation that the reference engine does: every layer holds a
covariance of ``P^2`` entries, ``P`` being the number of positions after it. An arithmetic
operation and an elementary function (square root, exponential, arc tangent) count one each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from math import ceil, prod

from gramserve.spec import KernelSpec, infer_shapes, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages.activations import DUAL_OPERATIONS, dual_operations, variance_count
from gramserve.stages.cone import cut_stages
from gramserve.stages.finite_cost import count_finite
from gramserve.stages.stage import Fork, Pool, Stage, Step, plane_entries
from gramserve.stages.symmetry import GROUP_SIZES, count_evaluations

_SLOPE = 4
"""Further operations an entry for a derivative dual and its product with the tangent kernel."""


@dataclass(frozen=True)
class PlaneWork:
    """Work on the offset planes that the readout needs, by kind: engines differ in their rates."""

    product: int = 0
    """Operations of the inner products of the items' channels."""
    affine: int = 0
    """Operations of convolutions, dense layers and sums of branches."""
    dual: int = 0
    """Operations of activations."""
    pool: int = 0
    """Operations of pools and readouts."""
    rows: int = 0
    """Rows of planes, over all layers: what each costs besides its entries."""

    @property
    def operations(self) -> int:
        """All operations."""
        return self.product + self.affine + self.dual + self.pool

    def times(self, number: int) -> "PlaneWork":
        """Return the work of several pairs."""
        return PlaneWork(*(number * part for part in astuple(self)))

    def __add__(self, other: "PlaneWork") -> "PlaneWork":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return PlaneWork(*(mine + theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class PairCost:
    """What one pair of items costs."""

    operations: int
    """Operations, of all kernels asked for together."""
    largest_entries: int
    """Entries of the largest covariance, the input's included."""
    branch_depth: int
    """Residual or concat layers that are open at once at most."""
    input_operations: int
    """Of the operations, those of the inner products of the items' channels."""
    variances: int
    """Variances that are kept of an item."""
    planes: PlaneWork
    """The same on the offset planes that the readout needs."""
    item_operations: int = 0
    """Operations of one item in every block that it is part of: finite networks."""


def _layer_operations(
    layer: layers.LayerModel, before: Positions, after: Positions, states: int
) -> int:
    """Return the operations of one layer that is not a branch, for one pair."""
    inputs, outputs = prod(before) ** 2, prod(after) ** 2
    match layer:
        case layers.Conv() | layers.ConvLocal():
            # One axis after the other: an axis' taps are summed before the next axis shrinks.
            each = sum(_tuple(layer.size)) * max(inputs, outputs) + 3 * outputs
        case layers.Dense():
            each = 3 * outputs
        case layers.AvgPool() | layers.SumPool() | layers.CknPool():
            each = _pool_operations(before, after)
        case layers.GlobalAvgPool() | layers.GlobalSumPool():
            each = inputs
        case layers.Flatten():
            each = prod(before)
        case layers.Numeric():
            each = inputs * layer.degree * 3
        case _:
            return inputs * (dual_operations(layer) + _SLOPE * (states - 1))
    return each * states


def _pool_operations(before: Positions, after: Positions) -> int:
    """Return the operations of a small matrix along every axis of both positions."""
    operations, current = 0, list(before) * 2
    for axis, target in enumerate(list(after) * 2):
        source = current[axis]
        current[axis] = target
        operations += 2 * source * prod(current)
    return operations


def _tuple(value: object) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


@dataclass
class _Tally:
    states: int
    operations: int = 0
    largest: int = 1
    variances: int = 0

    def walk_spec(self, spec: KernelSpec, positions: Positions) -> None:
        """Count a network once, and its readouts from where they branch off."""
        for index in range(len(spec.layers) + 1):
            for readout in spec.readouts:
                if readout.after == index:
                    self.walk(readout.layers, positions)
            positions = self.walk(spec.layers[index : index + 1], positions)

    def walk(self, network: Iterable[layers.Layer], positions: Positions) -> Positions:
        for layer in network:
            self.largest = max(self.largest, prod(positions) ** 2)
            after = positions_of(layer, positions)
            if isinstance(layer, layers.Residual | layers.Concat):
                for branch in layer.branches:
                    self.walk(branch, positions)
                self.operations += prod(after) ** 2 * len(layer.branches) * self.states
            else:
                self.operations += _layer_operations(layer, positions, after, self.states)
                self.variances += variance_count(layer, prod(positions))
            positions = after
        self.largest = max(self.largest, prod(positions) ** 2)
        return positions


def branch_depth(network: Sequence[layers.Layer]) -> int:
    """Return how many residual or concat layers are open at once at most.

    Parameters
    ----------
    network : sequence of Layer
        The layers.

    Returns
    -------
    int
        0 for a plain stack.
    """
    return max(
        (
            1 + max(branch_depth(branch) for branch in layer.branches)
            for layer in network
            if isinstance(layer, layers.Residual | layers.Concat)
        ),
        default=0,
    )


def count_operations(spec: KernelSpec, item_shape: Sequence[int]) -> PairCost:
    """Return what one pair of items costs, evaluated densely.

    Parameters
    ----------
    spec : KernelSpec
        The kernel; two kernels in one pass cost what the NTK alone costs.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    PairCost
        Plain integers.

    Raises
    ------
    ShapeError
        When the layers do not fit the items.

    Examples
    --------
    >>> from gramserve.spec import parse_kernel
    >>> spec = parse_kernel({"preset": "fc", "depth": 1})
    >>> count_operations(spec, (10,))  # doctest: +NORMALIZE_WHITESPACE
    PairCost(operations=39, largest_entries=1, branch_depth=0, input_operations=20, variances=1,
             planes=PlaneWork(product=20, affine=6, dual=13, pool=0, rows=3), item_operations=0)
    """
    positions = infer_shapes(spec, item_shape)[0].positions
    if spec.finite is not None:
        return _count_networks(spec, item_shape)
    states = 2 if "ntk" in spec.kernels else 1
    tally = _Tally(states)
    inner = 2 * item_shape[-1] * prod(positions) ** 2
    tally.walk_spec(spec, positions)
    times = count_evaluations(spec, item_shape)
    return PairCost(
        operations=times * (inner + tally.operations),
        largest_entries=tally.largest,
        branch_depth=branch_depth(spec.layers),
        input_operations=times * inner,
        variances=GROUP_SIZES[spec.augment] * tally.variances,
        planes=_count_on_planes(spec, item_shape, states).times(times),
    )


def _count_networks(spec: KernelSpec, item_shape: Sequence[int]) -> PairCost:
    """Return the cost of a pair of finite networks, which have neither covariances nor planes."""
    cost, times = count_finite(spec, item_shape), count_evaluations(spec, item_shape)
    return PairCost(
        operations=times * cost.pair_operations,
        largest_entries=1,
        branch_depth=branch_depth(spec.layers),
        input_operations=0,
        variances=0,
        planes=PlaneWork(),
        item_operations=times * cost.item_operations,
    )


def _count_on_planes(spec: KernelSpec, item_shape: Sequence[int], states: int) -> PlaneWork:
    """Return the work of one pair on the planes that are needed, dense counts in part."""
    network = cut_stages(spec, item_shape)
    work = PlaneWork() if network.stages else PlaneWork(product=2 * item_shape[-1])
    for stage in network.stages:
        if stage.reads is None:
            entries = _entries(stage.before, stage.start_planes)
            work += PlaneWork(
                product=2 * item_shape[-1] * entries, rows=_rows(stage.before, stage.start_planes)
            )
        if stage.front is not None:
            work += _on_planes(stage.front, stage.start_planes, states)
        work += _count_steps(stage.steps, stage.start_planes, states)
        entries, rows = _entries(stage.after, stage.planes), _rows(stage.after, stage.planes)
        if stage.exit is not None:
            work += PlaneWork(pool=states * entries * _pool_on_planes(stage), rows=states * rows)
        else:
            work += PlaneWork(affine=2 * states * entries, rows=states * rows)
    for steps in (network.tail, *(tap.tail for tap in network.taps)):
        work += _count_steps(steps, ((0, 0),), states)
    return work


def _pool_on_planes(stage: Stage) -> int:
    """Return the operations an entry of a pool, rows first, or of a readout."""
    if stage.exit is None or not isinstance(stage.exit, Pool):
        return 1
    down, across = stage.windows
    rows = (down.size / down.stride) ** 2
    columns = (across.size / across.stride / down.stride) ** 2
    return ceil(2 * (rows + columns))


def _count_steps(
    steps: Sequence[Step | Fork], planes: Sequence[tuple[int, int]], states: int
) -> PlaneWork:
    work = PlaneWork()
    for step in steps:
        if isinstance(step, Fork):
            for branch in step.branches:
                work += _count_steps(branch, planes, states)
        down, across = step.strides
        planes = tuple((a // down, b // across) for a, b in planes)
        if isinstance(step, Fork):
            # What branches keep and add up: copies of planes.
            entries = _entries(step.after, planes)
            work += PlaneWork(affine=2 * states * len(step.branches) * entries)
        else:
            work += _on_planes(step, planes, states)
    return work


def _on_planes(step: Step, planes: Sequence[tuple[int, int]], states: int) -> PlaneWork:
    entries, rows = _entries(step.after, planes), states * _rows(step.after, planes)
    if type(step.layer) in DUAL_OPERATIONS:
        each = dual_operations(step.layer, on_planes=True) + _SLOPE * (states - 1)
        return PlaneWork(dual=each * entries, rows=rows)
    dense = _layer_operations(step.layer, step.before, step.after, states)
    share = dense * entries // prod(step.after) ** 2
    if isinstance(step.layer, layers.Conv | layers.ConvLocal | layers.Dense):
        return PlaneWork(affine=share, rows=rows)
    # In vectors a term loads a coefficient on either side, which takes as long as its arithmetic.
    return PlaneWork(dual=share * (2 if isinstance(step.layer, layers.Numeric) else 1), rows=rows)


def _rows(positions: tuple[int, int], planes: Iterable[tuple[int, int]]) -> int:
    return sum(max(0, positions[0] - abs(a)) for a, b in planes if abs(b) < positions[1])


def _entries(positions: tuple[int, int], planes: Iterable[tuple[int, int]]) -> int:
    return sum(plane_entries(positions, plane) for plane in planes)
