"""Finite networks as they are laid out for items of one shape: signals, nodes, sizes.

Between two layers of a finite network lie units: ``channels`` of them at every position. Their
products, summed over the channels and divided by ``divisor``, estimate the covariance that the
kernel of infinite width has there,

    S[p, p'] = (1 / divisor) sum_c f[p, c] f'[p', c],

so a layer with weights scales them by ``w sqrt(n / divisor)``. At the items themselves the
divisor is 1 or, for ``input.channels`` "mean", the number of channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

from gramserve.errors import ShapeError
from gramserve.spec import FiniteSpec, KernelSpec, input_positions, layers
from gramserve.spec.finite import WEIGHTED
from gramserve.spec.shapes import Positions, positions_of


@dataclass(frozen=True)
class Signal:
    """The units between two layers."""

    positions: Positions
    channels: int
    """Units at one position."""
    divisor: int
    """What a sum of products over all channels is divided by."""

    @property
    def entries(self) -> int:
        """Units of one item."""
        return prod(self.positions) * self.channels


@dataclass(frozen=True)
class Node:
    """One layer of a finite network."""

    layer: layers.Layer
    path: tuple[int, ...]
    """Its index; in branches, index of the layer, of the branch, in the branch, and so on."""
    where: str
    """The same for people: ``layers[2].branches[0][1]``."""
    before: Signal
    after: Signal
    branches: tuple[tuple["Node", ...], ...] = ()
    factors: tuple[float, ...] = ()
    """What the units of every branch are multiplied by, so that all have one divisor."""

    @property
    def taps(self) -> int:
        """Taps of its filter; 1 for a dense layer."""
        size = getattr(self.layer, "size", ())
        return prod(size) if isinstance(size, tuple) else 1

    @property
    def weight_count(self) -> int:
        """Weights and biases; 0 for layers that have none."""
        if not isinstance(self.layer, WEIGHTED):
            return 0
        each = self.taps * self.before.channels + (self.layer.b_std > 0)
        copies = prod(self.after.positions) if isinstance(self.layer, layers.ConvLocal) else 1
        return copies * each * self.after.channels

    @property
    def is_trained(self) -> bool:
        """Whether its own weights contribute to the NTK."""
        return isinstance(self.layer, WEIGHTED) and self.layer.trainable

    @property
    def has_trained(self) -> bool:
        """Whether it or a layer in its branches is trained."""
        return self.is_trained or any(
            node.has_trained for branch in self.branches for node in branch
        )


@dataclass(frozen=True)
class FiniteNetwork:
    """A finite network for items of one shape."""

    spec: FiniteSpec
    items: Signal
    nodes: tuple[Node, ...]
    """All layers but a final dense one."""
    head: Node
    """The final dense layer, over which the NNGP takes its expectation exactly. A network that
    ends otherwise has one with weights of deviation 1 that are not trained: that changes neither
    kernel of infinite width, and an NTK needs outputs."""

    @property
    def features(self) -> Signal:
        """Units behind the last node: what the NNGP is the product of."""
        return self.nodes[-1].after if self.nodes else self.items

    @property
    def outputs(self) -> int:
        """Outputs whose tangent kernels are averaged."""
        return self.head.after.channels

    def all_nodes(self) -> Iterator[Node]:
        """Yield every node, those of branches included, the head last."""
        yield from _flat(self.nodes)
        yield self.head


def _flat(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        for branch in node.branches:
            yield from _flat(branch)
        yield node


def lay_out(spec: KernelSpec, item_shape: Sequence[int]) -> FiniteNetwork:
    """Lay out the finite network of a spec for items of one shape.

    Parameters
    ----------
    spec : KernelSpec
        With ``finite``.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    FiniteNetwork
        Every layer with the units before and behind it.

    Raises
    ------
    ShapeError
        When the layers do not fit the items, or branches that are summed end with different
        numbers of channels.
    """
    finite = spec.finite or FiniteSpec()
    positions, channels = input_positions(spec, item_shape), item_shape[-1]
    divisor = 1 if spec.input.channels == "sum" else channels
    items = Signal(positions, channels, divisor)
    body, head = spec.layers, layers.Dense(trainable=False)
    match spec.layers:
        case (*_, layers.Dense() as last):
            body, head = spec.layers[:-1], last
    nodes = _lay_branch(body, items, (), "layers", finite.width)
    features = nodes[-1].after if nodes else items
    where = f"layers[{len(body)}]"
    readout = _lay_layer(head, features, (len(body),), where, finite.outputs)
    return FiniteNetwork(finite, items, nodes, readout)


def _lay_branch(
    network: Sequence[layers.Layer],
    signal: Signal,
    path: tuple[int, ...],
    where: str,
    width: int,
) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for index, layer in enumerate(network):
        nodes.append(_lay_layer(layer, signal, (*path, index), f"{where}[{index}]", width))
        signal = nodes[-1].after
    return tuple(nodes)


def _lay_layer(
    layer: layers.Layer, before: Signal, path: tuple[int, ...], where: str, width: int
) -> Node:
    if isinstance(layer, layers.Residual | layers.Concat):
        return _lay_branches(layer, before, path, where, width)
    positions = positions_of(layer, before.positions, where)
    after = replace(before, positions=positions)
    if isinstance(layer, WEIGHTED):
        after = Signal(positions, channels=width, divisor=width)
    elif isinstance(layer, layers.Flatten):
        count = prod(before.positions)
        after = Signal(
            positions,
            channels=count * before.channels,
            divisor=before.divisor * (count if layer.average else 1),
        )
    return Node(layer, path, where, before, after)


def _lay_branches(
    layer: layers.Residual | layers.Concat,
    before: Signal,
    path: tuple[int, ...],
    where: str,
    width: int,
) -> Node:
    branches = tuple(
        _lay_branch(branch, before, (*path, number), f"{where}.branches[{number}]", width)
        for number, branch in enumerate(layer.branches)
    )
    positions = positions_of(layer, before.positions, where)
    ends = [branch[-1].after if branch else before for branch in branches]
    largest = max(end.divisor for end in ends)
    factors = tuple(sqrt(largest / end.divisor) for end in ends)
    if isinstance(layer, layers.Residual):
        channels = ends[0].channels
        for number, end in enumerate(ends):
            if end.channels != channels:
                message = (
                    f"finite networks add the branches channel by channel, but branches[0] ends "
                    f"with {channels} channels and branches[{number}] with {end.channels}; put a "
                    "conv of size 1 or a dense layer into the one without"
                )
                raise ShapeError(
                    f"{where} (residual): {message}", errors=[{"loc": where, "message": message}]
                )
        after = Signal(positions, channels, largest)
    else:
        channels = sum(end.channels for end in ends)
        after = Signal(positions, channels, largest * len(ends))
    return Node(layer, path, where, before, after, branches, factors)
