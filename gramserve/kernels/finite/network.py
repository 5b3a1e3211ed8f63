"""One finite network: items forwards, derivatives of its outputs backwards.

The way back takes several batches of items at once, layer by layer, so that what a layer saw of
the rows and of the columns of a block is there at the same time, and is freed behind it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from gramserve.arrays import Array, namespace_of
from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.finite.affine import Affine, affine_unit
from gramserve.kernels.finite.jacobians import LayerRecord
from gramserve.kernels.finite.parameters import draw_parameters
from gramserve.kernels.finite.units import Unit, plain_unit
from gramserve.spec import layers
from gramserve.spec.finite import WEIGHTED
from gramserve.stages import FiniteNetwork, Node

Tape = dict[tuple[int, ...], Array]
"""What the pullbacks need of a batch: inputs of layers by their paths."""

Visit = Callable[[Affine, list[LayerRecord]], None]
"""Called for every trained layer, the last first, with what it saw of every batch."""


@dataclass(frozen=True)
class Branches:
    """Residual and concat layers: branches side by side."""

    node: Node
    branches: tuple[tuple["Element", ...], ...]

    @property
    def is_sum(self) -> bool:
        """Whether the ends are added; otherwise their channels lie next to each other."""
        return isinstance(self.node.layer, layers.Residual)

    def join(self, ends: Sequence[Array]) -> Array:
        """Return the ends of all branches as one."""
        scaled = [
            end if factor == 1 else factor * end
            for end, factor in zip(ends, self.node.factors, strict=True)
        ]
        if self.is_sum:
            return reduce(add, scaled)
        return namespace_of(ends[0]).concatenate(scaled, axis=-1)

    def split(self, vectors: Array) -> list[Array]:
        """Return the pullback of :meth:`join` into every branch."""
        parts = [vectors] * len(self.branches)
        if not self.is_sum:
            ends = [
                branch[-1].node.after if branch else self.node.before for branch in self.branches
            ]
            stops = np.cumsum([end.channels for end in ends])
            parts = [
                vectors[..., stop - end.channels : stop]
                for end, stop in zip(ends, stops, strict=True)
            ]
        return [
            part if factor == 1 else factor * part
            for part, factor in zip(parts, self.node.factors, strict=True)
        ]


@dataclass(frozen=True)
class Plain:
    """A layer without branches."""

    node: Node
    unit: Unit


Element = Plain | Branches


@dataclass(frozen=True)
class Network:
    """A finite network with its parameters."""

    layout: FiniteNetwork
    elements: tuple[Element, ...]
    head: Affine
    """The final dense layer, which only the NTK looks at."""

    def features(self, items: Array, tape: Tape | None = None) -> Array:
        """Return the units behind the last layer but a final dense one.

        Parameters
        ----------
        items : array, (n, *item_shape)
            In the dtype to compute in.
        tape : dict, optional
            Takes up what :meth:`pull_back` needs.

        Returns
        -------
        array, (n, D)
            The NNGP is their product over the divisor of ``layout.features``.
        """
        return _forward(self.elements, items, tape)

    def outputs(self, items: Array) -> Array:
        """Return the outputs of the network, of which the NTK is taken.

        Parameters
        ----------
        items : array, (n, *item_shape)
            In the dtype to compute in.

        Returns
        -------
        array, (n, R)
            What the final dense layer makes of the features.
        """
        return self.head.forward(self.features(items))

    def pull_back(self, features: Sequence[Array], tapes: Sequence[Tape], visit: Visit) -> None:
        """Take the derivatives of all outputs back through the network.

        Parameters
        ----------
        features : sequence of array, (n, D)
            Of every batch.
        tapes : sequence of dict
            As :meth:`features` filled them; emptied on the way.
        visit : callable
            Called with every trained layer and a record of each batch.
        """
        vectors = [_unit_vectors(part, self.layout.outputs) for part in features]
        if self.head.node.is_trained:
            visit(self.head, _records(features, vectors))
        if any(element.node.has_trained for element in self.elements):
            vectors = [self.head.pull(part, None) for part in vectors]
            _backward(self.elements, vectors, tapes, visit, is_needed=False)


def draw_network(
    layout: FiniteNetwork, sample: int, dtype: np.dtype[Any], work_bytes: int
) -> Network:
    """Draw a network.

    Parameters
    ----------
    layout : FiniteNetwork
        Its layers.
    sample : int
        Which of the networks of the seed, from 0.
    dtype : numpy.dtype
        Of the parameters.
    work_bytes : int
        Memory for the temporaries of a layer, in bytes.

    Returns
    -------
    Network
        In host memory.
    """

    def build(nodes: Sequence[Node]) -> tuple[Element, ...]:
        return tuple(
            Branches(node, tuple(build(branch) for branch in node.branches))
            if isinstance(node.layer, layers.Residual | layers.Concat)
            else Plain(node, draw(node) if isinstance(node.layer, WEIGHTED) else plain_unit(node))
            for node in nodes
        )

    def draw(node: Node) -> Affine:
        parameters = draw_parameters(node, layout.spec.seed, sample, dtype)
        return affine_unit(node, parameters, work_bytes)

    return Network(layout, build(layout.nodes), draw(layout.head))


def _unit_vectors(features: Array, outputs: int) -> Array:
    """Return the derivatives of all outputs by themselves, for every item: (n, R, R)."""
    xp = namespace_of(features)
    identity = xp.eye(outputs, dtype=features.dtype)
    return xp.broadcast_to(identity, (len(features), outputs, outputs))


def _records(units: Sequence[Array | None], vectors: Sequence[Array]) -> list[LayerRecord]:
    return [LayerRecord(*pair) for pair in zip(units, vectors, strict=True)]


def find_overflow(network: Network, items: Array) -> None:
    """Look for the first layer that gives NaN or infinity for any item.

    Parameters
    ----------
    network : Network
        The network.
    items : array, (n, *item_shape)
        The items.

    Raises
    ------
    NonFiniteKernelError
        Names the layer.
    """
    _forward(network.elements, items, None, watch=True)


def _forward(
    elements: Sequence[Element], units: Array, tape: Tape | None, *, watch: bool = False
) -> Array:
    for element in elements:
        if isinstance(element, Branches):
            units = element.join(
                [_forward(branch, units, tape, watch=watch) for branch in element.branches]
            )
        else:
            if tape is not None and element.unit.keeps_input:
                tape[element.node.path] = units
            units = element.unit.forward(units)
        if watch and not namespace_of(units).isfinite(units).all():
            where, kind = element.node.where, element.node.layer.type
            raise NonFiniteKernelError(f"{where} ({kind}) is not finite", layer=where, type=kind)
    return units


def _backward(
    elements: Sequence[Element],
    vectors: list[Array],
    tapes: Sequence[Tape],
    visit: Visit,
    *,
    is_needed: bool,
) -> list[Array]:
    """Take vectors back through layers; stop where nothing below needs them."""
    for index in reversed(range(len(elements))):
        element = elements[index]
        below = is_needed or any(earlier.node.has_trained for earlier in elements[:index])
        if isinstance(element, Branches):
            inside = [element.split(part) for part in vectors]
            ends = [
                _backward(
                    branch, [parts[number] for parts in inside], tapes, visit, is_needed=below
                )
                for number, branch in enumerate(element.branches)
            ]
            if not below:
                break
            vectors = [reduce(add, parts) for parts in zip(*ends, strict=True)]
            continue
        kept = [tape.pop(element.node.path, None) for tape in tapes]
        if isinstance(element.unit, Affine) and element.node.is_trained:
            visit(element.unit, _records(kept, vectors))
        if not below:
            break
        vectors = [element.unit.pull(*pair) for pair in zip(vectors, kept, strict=True)]
    return vectors
