"""The engine of finite networks: empirical NNGP and NTK, averaged over networks.

References
----------
Jacot, Gabriel and Hongler, "Neural Tangent Kernel: Convergence and Generalization in Neural
Networks", NeurIPS 2018. Novak, Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent
Kernel", ICML 2022.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, keep_freed_memory, namespace_of
from gramserve.errors import MemoryBudgetError, NonFiniteKernelError
from gramserve.kernels.finite.affine import Affine, parameter_factors
from gramserve.kernels.finite.jacobians import LayerRecord, bias_products, weight_products
from gramserve.kernels.finite.network import Network, Tape, draw_network, find_overflow
from gramserve.kernels.inputs import is_plain
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.precision import remedy, result_dtype, working_dtype
from gramserve.kernels.tiles import Tile, cut_tiles
from gramserve.spec import KernelName, KernelSpec, OutputName, Precision, infer_shapes, layers
from gramserve.stages import FiniteCost, FiniteNetwork, count_finite, lay_out

_KNOWN_FIELDS = {"format", "input", "layers", "kernel", "finite"}
"""Fields of a spec that finite networks follow; others must be at their default."""

_WORK_SHARE = 4
"""One over the share of memory that temporaries may take where items could take it too."""


@dataclass(frozen=True)
class _Sizes:
    """How the items of a block are taken through a network."""

    edge: int
    """Items of a tile, rows or columns."""
    batch: int
    """Of these, items that go forwards at once where only their features are kept."""
    work_bytes: int
    """Memory for temporaries of a layer, in bytes."""
    dtype: np.dtype[Any]
    """What is computed in."""


@dataclass(frozen=True)
class FiniteEngine:
    """NumPy; "mixed" is float64 rounded to float32."""

    name: str = "finite"
    device: str = "cpu"
    about: str = "NumPy, finite networks (specs with `finite`)"

    def missing(self) -> str | None:
        """Return None: it is everywhere."""
        return None

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return why the engine cannot run a kernel, or None if it can."""
        if spec.finite is None:
            return "the spec has no finite networks; give it `finite` or choose another engine"
        for name, field in type(spec).model_fields.items():
            if name not in _KNOWN_FIELDS and getattr(spec, name) != field.get_default():
                return f"`{name}` is not implemented for finite networks"
        if not is_plain(spec):
            return "weights on the input's channels are not implemented for finite networks"
        return None

    def warm(self) -> None:
        """Do nothing: NumPy is compiled."""

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the memory of one network, two items and the temporaries of a layer, in bytes."""
        return _needed_bytes(count_finite(spec, item_shape), working_dtype(precision).itemsize)

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 0: finite networks have no variances to keep."""
        return 0

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,  # noqa: ARG002
        threads: int = 1,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return an array of shape (n, 0).

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        values : ndarray, (n, *item_shape)
            The items.
        precision : {"float32", "mixed", "float64"}
            Decides the dtype.
        memory_bytes, threads : int
            Without effect.

        Returns
        -------
        ndarray, (n, 0)
            Nothing for each item.

        Raises
        ------
        ShapeError
            When the layers do not fit the items.
        """
        lay_out(spec, values.shape[1:])
        return np.empty((len(values), 0), working_dtype(precision))

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,  # noqa: ARG002 - one, besides those of the matrix products
    ) -> dict[OutputName, NDArray[Any]]:
        """Return all kernels asked for, of every row item with every column item.

        The same networks for every block: parameters depend on the spec alone. Where the keys of
        rows and columns are the same in the same order, the result is exactly symmetric.

        Parameters
        ----------
        spec : KernelSpec
            With ``finite``.
        rows, columns : Items
            n and m items of one shape.
        precision : {"float32", "mixed", "float64"}
            How to compute.
        memory_bytes : int
            Temporary memory allowed, in bytes.
        threads : int
            Without effect: the engine itself has one.

        Returns
        -------
        dict of ndarray, (n, m)
            float64 for "float64", else float32.

        Raises
        ------
        ShapeError
            When the layers do not fit the items.
        MemoryBudgetError
            When not even one pair fits.
        NonFiniteKernelError
            When a value is NaN or infinite; names the layer and the first bad pair.
        """
        item_shape, dtype = rows.values.shape[1:], working_dtype(precision)
        infer_shapes(spec, item_shape)
        keep_freed_memory()
        layout = lay_out(spec, item_shape)
        sizes = self._sizes(spec, layout, item_shape, precision, memory_bytes)
        labels = label_items(rows, columns)
        symmetric = np.array_equal(*labels)
        sums = {name: np.zeros((len(rows), len(columns)), dtype) for name in spec.kernels}
        tiles = list(_cut(len(rows), len(columns), sizes.edge, symmetric=symmetric))
        for sample in range(layout.spec.samples):
            network = draw_network(layout, sample, dtype, sizes.work_bytes)
            for tile in tiles:
                sides = [rows.values[tile[0]]]
                if not (symmetric and tile[0] == tile[1]):
                    sides.append(columns.values[tile[1]])
                with np.errstate(all="ignore"):  # what is not finite is reported below
                    for name, values in _kernels(network, sides, spec.kernels, sizes).items():
                        sums[name][tile] += values
        result: dict[OutputName, NDArray[Any]] = {}
        for name, total in sums.items():
            if symmetric:
                _mirror(total, tiles)
            with np.errstate(over="ignore"):  # likewise
                result[name] = (total / layout.spec.samples).astype(result_dtype(precision))
            if not np.isfinite(result[name]).all():
                _blame(spec, rows, columns, precision, result[name])
        return result

    def _sizes(
        self,
        spec: KernelSpec,
        layout: FiniteNetwork,
        item_shape: Sequence[int],
        precision: Precision,
        memory_bytes: int,
    ) -> _Sizes:
        """Return how many items are taken at once."""
        cost, dtype = count_finite(spec, item_shape), working_dtype(precision)
        needed = _needed_bytes(cost, dtype.itemsize)
        if needed > memory_bytes:
            msg = (
                f"networks of width {layout.spec.width} and two items of shape "
                f"{tuple(item_shape)} need {needed / 2**20:.1f} MiB in {precision}, "
                f"{memory_bytes / 2**20:.1f} MiB are allowed; allow more memory, use a smaller "
                "width or fewer outputs, smaller items or precision float32"
            )
            raise MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=memory_bytes)
        free = (memory_bytes - _parameter_bytes(cost, dtype.itemsize)) // dtype.itemsize
        work = min(max(cost.work_entries, free // _WORK_SHARE), free - 2 * cost.item_entries)
        batch = (free - work) // (2 * cost.item_entries)
        edge = batch
        if "ntk" not in spec.kernels:
            # Half of the memory for the items that go forwards, half for features that stay.
            edge = max(batch, (free - work) // (4 * layout.features.channels))
        return _Sizes(edge, batch, work * dtype.itemsize, dtype)


def _cut(rows: int, columns: int, edge: int, *, symmetric: bool) -> Iterator[Tile]:
    """Cut a block into tiles of at most two edges of items, rows and columns together."""
    if symmetric:
        yield from cut_tiles(rows, columns, edge**2, symmetric=True)
        return
    width = min(columns, edge)
    height = min(rows, 2 * edge - width)
    width = min(columns, 2 * edge - height)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield (
                slice(top, min(top + height, rows)),
                slice(left, min(left + width, columns)),
            )


def _parameter_bytes(cost: FiniteCost, itemsize: int) -> int:
    """Return what a network occupies while it is drawn, in float64 first, in bytes."""
    return cost.parameters * (8 + itemsize)


def _needed_bytes(cost: FiniteCost, itemsize: int) -> int:
    """Return the memory of a network, two items and the smallest temporaries, in bytes."""
    return _parameter_bytes(cost, itemsize) + itemsize * (2 * cost.item_entries + cost.work_entries)


def _kernels(
    network: Network, sides: list[NDArray[Any]], kernels: Sequence[KernelName], sizes: _Sizes
) -> dict[KernelName, Array]:
    """Return the kernels of one network, of the items of the first side with those of the last."""
    if "ntk" not in kernels:
        features = [_features(network, side, sizes) for side in sides]
        return {"nngp": _feature_products(network, features[0], features[-1])}
    tapes: list[Tape] = [{} for _ in sides]
    features = [
        network.features(side.astype(sizes.dtype), tape)
        for side, tape in zip(sides, tapes, strict=True)
    ]
    found: dict[KernelName, Array] = {}
    if "nngp" in kernels:
        found["nngp"] = _feature_products(network, features[0], features[-1])
    found["ntk"] = _jacobian_products(network, features, tapes)
    return found


def _features(network: Network, items: NDArray[Any], sizes: _Sizes) -> Array:
    """Return the features of items that need not all go forwards at once."""
    result = np.empty((len(items), network.layout.features.channels), sizes.dtype)
    for start in range(0, len(items), sizes.batch):
        run = slice(start, start + sizes.batch)
        result[run] = network.features(items[run].astype(sizes.dtype))
    return result


def _feature_products(network: Network, rows: Array, columns: Array) -> Array:
    """Return the NNGP; the expectation over a final dense layer is exact."""
    products = rows @ columns.T
    head: layers.Dense = network.layout.head.layer  # type: ignore[assignment]
    products *= head.w_std**2 / network.layout.features.divisor
    products += head.b_std**2
    return products


def _jacobian_products(network: Network, features: list[Array], tapes: list[Tape]) -> Array:
    """Return the NTK: the mean over outputs, layer by layer."""
    xp = namespace_of(features[0])
    total = xp.zeros((len(features[0]), len(features[-1])), features[0].dtype)
    parameterization = network.layout.spec.parameterization

    def add_layer(unit: Affine, records: list[LayerRecord]) -> None:
        weights, biases = parameter_factors(unit, parameterization)
        if weights:
            xp.add(total, weights * weight_products(unit, records[0], records[-1]), out=total)
        if biases:
            xp.add(total, biases * bias_products(unit, records[0], records[-1]), out=total)

    network.pull_back(features, tapes, add_layer)
    return total / network.layout.outputs


def _mirror(values: NDArray[Any], tiles: Sequence[Tile]) -> None:
    """Fill the lower triangle from the upper, exactly."""
    for rows, columns in tiles:
        part = values[rows, columns]
        if rows == columns:
            part[...] = np.triu(part) + np.triu(part, 1).T
        else:
            values[columns, rows] = part.T


def _blame(
    spec: KernelSpec,
    rows: Items,
    columns: Items,
    precision: Precision,
    values: NDArray[Any],
) -> None:
    """Find the layer at which the first bad pair goes wrong."""
    pair = [int(index) for index in np.argwhere(~np.isfinite(values))[0]]
    layout, dtype = lay_out(spec, rows.values.shape[1:]), working_dtype(precision)
    items = [rows.values[pair[0]][None].astype(dtype), columns.values[pair[1]][None].astype(dtype)]
    where, kind = "result", "result"
    with np.errstate(all="ignore"):
        try:
            for sample in range(layout.spec.samples):
                network = draw_network(layout, sample, dtype, work_bytes=0)
                for item in items:
                    find_overflow(network, item)
        except NonFiniteKernelError as error:
            where, kind = error.context["layer"], error.context["type"]
    place = "the result" if where == "result" else f"{where} ({kind}) of a finite network"
    raise NonFiniteKernelError(
        f"{place} is NaN or infinite, first for row {pair[0]} and column {pair[1]} of the block, "
        f"in {precision}: {remedy(precision, kind)}",
        layer=where,
        type=kind,
        pair=pair,
    )
