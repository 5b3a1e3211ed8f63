"""What kernels of finite networks cost: operations of items and pairs, and numbers in memory.

An item is taken through every network once for each block that it is part of, forwards and, for
the NTK, backwards. A pair then costs one product of features for the NNGP; for the NTK, every
layer with weights contributes its products of Jacobians, which are formed in one of two ways
(:class:`JacobianProduct`). A multiplication and an addition count one operation each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gramserve.spec import KernelSpec, layers
from gramserve.spec.finite import WEIGHTED
from gramserve.stages.finite import FiniteNetwork, Node, lay_out

_POINTWISE = 10
"""Operations of a unit of a layer without weights, or of its derivative."""

_TYPICAL_ITEMS = 64
"""Items on each side of a block, where costs of a pair depend on them."""


@dataclass(frozen=True)
class JacobianProduct:
    """What the products of Jacobians by the weights of one layer cost, in the two ways.

    *structured*: sums over pairs of positions of (product of back-propagated vectors) times
    (product of patches), without any Jacobian. *explicit*: the Jacobians of all items, and their
    matrix product.
    """

    structured_pair: int
    """Operations of a pair."""
    structured_entries: int
    """Numbers in memory for a pair."""
    explicit_item: int
    """Operations of an item."""
    explicit_pair: int
    """Operations of a pair."""

    def is_structured(self, rows: int, columns: int, entries: int) -> bool:
        """Return whether a block is cheaper without Jacobians, and fits.

        Parameters
        ----------
        rows, columns : int
            Items of the block.
        entries : int
            Numbers that may be held.

        Returns
        -------
        bool
            False where not even one pair of the structured way fits.
        """
        if self.structured_entries > entries:
            return False
        pairs = rows * columns
        explicit = self.explicit_item * (rows + columns) + self.explicit_pair * pairs
        return self.structured_pair * pairs <= explicit


def jacobian_product(node: Node, outputs: int) -> JacobianProduct:
    """Return what the contribution of one layer to the NTK costs.

    Parameters
    ----------
    node : Node
        A layer with weights.
    outputs : int
        Outputs of the network that are differentiated.

    Returns
    -------
    JacobianProduct
        For a block of any size.
    """
    inputs, positions = prod(node.before.positions), prod(node.after.positions)
    channels, vectors = node.before.channels, outputs * node.after.channels
    taps, patch = node.taps, node.taps * node.before.channels
    if isinstance(node.layer, layers.ConvLocal):
        # Weights of different positions are different: only equal positions meet.
        return JacobianProduct(
            structured_pair=2 * (inputs * channels + positions * (taps + vectors)),
            structured_entries=2 * inputs + 2 * positions,
            explicit_item=2 * positions * patch * vectors,
            explicit_pair=2 * positions * patch * vectors,
        )
    return JacobianProduct(
        structured_pair=2 * (inputs**2 * channels + positions**2 * (taps + vectors + 1)),
        structured_entries=3 * (inputs**2 + positions**2),
        explicit_item=2 * positions * patch * vectors,
        explicit_pair=2 * patch * vectors,
    )


@dataclass(frozen=True)
class FiniteCost:
    """What kernels of finite networks cost, all samples together."""

    item_operations: int
    """Operations of an item, in every block that it is part of."""
    pair_operations: int
    """Operations of a pair."""
    parameters: int
    """Numbers held for the parameters of one network."""
    item_entries: int
    """Numbers held for an item of a batch."""
    work_entries: int
    """Numbers held at least besides: patches of an item, products of a pair."""


def count_finite(spec: KernelSpec, item_shape: Sequence[int]) -> FiniteCost:
    """Return what the kernels of a finite spec cost.

    Parameters
    ----------
    spec : KernelSpec
        With ``finite``.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    FiniteCost
        Plain integers.

    Raises
    ------
    ShapeError
        When the layers do not fit the items or each other.

    Examples
    --------
    >>> from gramserve.spec import parse_kernel
    >>> spec = parse_kernel({"preset": "fc", "depth": 1, "finite": {"width": 8, "samples": 1}})
    >>> count_finite(spec, (10,)).parameters  # 10 x 8 and 8 x 1
    88
    """
    network = lay_out(spec, item_shape)
    is_ntk = "ntk" in spec.kernels
    item = sum(_forward(node) for node in network.all_nodes())
    pair = 2 * network.features.channels
    if is_ntk:
        item += sum(_backward(node, network.outputs) for node in network.all_nodes())
        for node in network.all_nodes():
            if node.is_trained:
                product = jacobian_product(node, network.outputs)
                if product.is_structured(
                    _TYPICAL_ITEMS, _TYPICAL_ITEMS, product.structured_entries
                ):
                    pair += product.structured_pair
                else:
                    item += product.explicit_item
                    pair += product.explicit_pair
    return FiniteCost(
        item_operations=item * network.spec.samples,
        pair_operations=pair * network.spec.samples,
        parameters=sum(node.weight_count for node in network.all_nodes()),
        item_entries=_item_entries(network, is_ntk=is_ntk),
        work_entries=_work_entries(network),
    )


def _forward(node: Node) -> int:
    if isinstance(node.layer, WEIGHTED):
        return 2 * node.after.entries * node.taps * node.before.channels
    return _POINTWISE * max(node.before.entries, node.after.entries)


def _backward(node: Node, outputs: int) -> int:
    return outputs * _forward(node)


def _item_entries(network: FiniteNetwork, *, is_ntk: bool) -> int:
    """Return the numbers that an item occupies at once, all layers or the two largest ends."""
    sizes = [network.items.entries, *(node.after.entries for node in network.all_nodes())]
    if not is_ntk:
        depth = max((len(node.path) for node in network.all_nodes()), default=1)
        return (2 + depth) * max(sizes)
    # Every signal is kept; vectors that come back exist before and behind a layer, once more
    # for each open branch, and as a slice of a Jacobian.
    depth = max((len(node.path) // 2 for node in network.all_nodes()), default=0)
    return sum(sizes) + (3 + depth) * network.outputs * max(sizes)


def _work_entries(network: FiniteNetwork) -> int:
    """Return the numbers of the largest temporary of one item or pair."""
    patches = [
        2 * prod(node.after.positions) * node.taps * max(node.before.channels, 1)
        for node in network.all_nodes()
        if isinstance(node.layer, WEIGHTED)
    ]
    return max([2 * network.items.entries, *patches])
