"""Products of Jacobians by the weights of one layer, of all items of a batch with another's.

With patches ``x_q`` (T C numbers) at output ``q`` and the derivatives ``v_rq`` of output ``r`` of
the network by the layer's result there, the Jacobian of item x by the weights is
``J_r = s sum_q x_q v_rq^T``, and

    sum_r <J_r, J'_r> = s^2 sum_{q, q'} (x_q . x'_q') (sum_r v_rq . v'_rq').

The right side needs no Jacobian; the products of patches are the products of units, summed over
equal taps of both positions like a covariance under a convolution. The left side builds the
Jacobians a few channels and one tap at a time. Whichever is cheaper is taken, after counting
(:class:`gramserve.stages.JacobianProduct`). Where weights are not shared, only ``q = q'`` occurs.

References
----------
Novak, Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022.
"""

from dataclasses import dataclass
from math import prod

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.finite.affine import Affine
from gramserve.kernels.finite.patches import unfold
from gramserve.kernels.taps import sum_taps
from gramserve.kernels.tiles import cut_tiles
from gramserve.stages import jacobian_product


@dataclass(frozen=True)
class LayerRecord:
    """What a layer saw of some items."""

    units: Array
    """(n, *P, C): its input."""
    vectors: Array
    """(n, R, *Q, C'): derivatives of R outputs of the network by its result."""

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, run: slice) -> "LayerRecord":
        return LayerRecord(self.units[run], self.vectors[run])

    @property
    def flat_vectors(self) -> Array:
        """(n, R, Q, C') vectors."""
        shape = self.vectors.shape
        return self.vectors.reshape(*shape[:2], -1, shape[-1])


def weight_products(unit: Affine, rows: LayerRecord, columns: LayerRecord) -> Array:
    """Return the products of Jacobians by the weights, summed over outputs, without factors.

    Parameters
    ----------
    unit : Affine
        The layer.
    rows, columns : LayerRecord
        What it saw of n and m items.

    Returns
    -------
    array, (n, m)
        ``sum_r <sum_q x_q v_rq^T, sum_q x'_q v'_rq^T>``, in the dtype of the units.
    """
    cost = jacobian_product(unit.node, rows.vectors.shape[1])
    entries = unit.work_bytes // rows.units.itemsize
    if not cost.is_structured(len(rows), len(columns), entries):
        return _explicit(unit, rows, columns)
    pairs = max(1, entries // cost.structured_entries)
    xp = namespace_of(rows.units)
    result = xp.empty((len(rows), len(columns)), rows.units.dtype)
    product = _local_product if unit.is_local else _shared_product
    for tile in cut_tiles(len(rows), len(columns), pairs, symmetric=False):
        result[tile] = product(unit, rows[tile[0]], columns[tile[1]])
    return result


def bias_products(unit: Affine, rows: LayerRecord, columns: LayerRecord) -> Array:
    """Return the products of Jacobians by the biases, summed over outputs, without factors.

    Parameters
    ----------
    unit : Affine
        The layer.
    rows, columns : LayerRecord
        What it saw of n and m items.

    Returns
    -------
    array, (n, m)
        ``sum_r <sum_q v_rq, sum_q v'_rq>``; ``sum_rq <v_rq, v'_rq>`` where every position has
        biases of its own.
    """
    left, right = (
        (record.vectors if unit.is_local else record.flat_vectors.sum(axis=2)).reshape(
            len(record), -1
        )
        for record in (rows, columns)
    )
    return left @ right.T


def layer_jacobian(unit: Affine, record: LayerRecord) -> Array:
    """Return the Jacobians by the weights of one layer, without the factor ``s``.

    Parameters
    ----------
    unit : Affine
        The layer.
    record : LayerRecord
        What it saw of n items.

    Returns
    -------
    array, (n, R, T, C, C'), or (n, R, Q, T, C, C') where weights are not shared
        ``sum_q x_q v_rq^T``, without the sum where they are not.
    """
    xp, patches = namespace_of(record.units), unfold(record.units, unit.windows)
    if unit.is_local:
        return xp.einsum("nqtc,nrqd->nrqtcd", patches, record.flat_vectors)
    items, outputs = record.vectors.shape[:2]
    flat = patches.reshape(*patches.shape[:2], -1).transpose(0, 2, 1)
    return (flat[:, None] @ record.flat_vectors).reshape(items, outputs, *unit.weights.shape)


def _unit_products(unit: Affine, rows: Array, columns: Array) -> Array:
    """Return ``x_q . x'_q'`` for all pairs of outputs, (n, m, Q, Q'), from products of units."""
    positions, channels = unit.node.before.positions, rows.shape[-1]
    count, axes = prod(positions), len(positions)
    products = rows.reshape(-1, channels) @ columns.reshape(-1, channels).T
    products = products.reshape(len(rows), count, len(columns), count).transpose(0, 2, 1, 3)
    state = products.reshape(len(rows), len(columns), *positions, *positions)
    for axis, window in enumerate(unit.windows):
        state = sum_taps(state, (2 + axis, 2 + axes + axis), window)
    after = prod(unit.positions)
    return state.reshape(len(rows), len(columns), after, after)


def _shared_product(unit: Affine, rows: LayerRecord, columns: LayerRecord) -> Array:
    """Sum over all pairs of positions, without Jacobians."""
    xp, count = namespace_of(rows.units), prod(unit.positions)
    left, right = (
        record.flat_vectors.transpose(0, 2, 1, 3).reshape(len(record) * count, -1)
        for record in (rows, columns)
    )
    vectors = (left @ right.T).reshape(len(rows), count, len(columns), count)
    units = _unit_products(unit, rows.units, columns.units)
    if count == 1:
        return units[:, :, 0, 0] * vectors[:, 0, :, 0]
    return xp.einsum("nmpq,npmq->nm", units, vectors)


def _local_product(unit: Affine, rows: LayerRecord, columns: LayerRecord) -> Array:
    """Sum over equal positions, without Jacobians."""
    xp, positions = namespace_of(rows.units), unit.node.before.positions
    left, right = (
        record.units.reshape(len(record), prod(positions), -1).transpose(1, 0, 2)
        for record in (rows, columns)
    )
    products = (left @ right.transpose(0, 2, 1)).reshape(*positions, len(rows), len(columns))
    for axis, window in enumerate(unit.windows):
        products = sum_taps(products, (axis,), window)
    products = products.reshape(-1, len(rows), len(columns))
    left, right = (
        record.flat_vectors.transpose(2, 0, 1, 3).reshape(prod(unit.positions), len(record), -1)
        for record in (rows, columns)
    )
    return xp.einsum("qnm,qnm->nm", products, left @ right.transpose(0, 2, 1))


def _explicit(unit: Affine, rows: LayerRecord, columns: LayerRecord) -> Array:
    """Multiply Jacobians, for some of the weights at a time."""
    xp = namespace_of(rows.units)
    result = xp.zeros((len(rows), len(columns)), rows.units.dtype)
    positions = prod(unit.positions)
    each = positions + rows.vectors.shape[1] * unit.node.after.channels
    if unit.is_local:
        each += positions * rows.vectors.shape[1] * unit.node.after.channels
    held = (len(rows) + len(columns)) * each * rows.units.itemsize
    channels = max(1, unit.work_bytes // held)
    for tap in range(unit.node.taps):
        for start in range(0, unit.node.before.channels, channels):
            left, right = (
                _slice(unit, record, tap, slice(start, start + channels))
                for record in (rows, columns)
            )
            result += left @ right.T
    return result


def _slice(unit: Affine, record: LayerRecord, tap: int, channels: slice) -> Array:
    """Return the Jacobians by the weights of one tap and some channels, (n, numbers)."""
    xp = namespace_of(record.units)
    taps = slice(tap, tap + 1)
    patches = unfold(record.units[..., channels], unit.windows, taps)[:, :, 0]
    if unit.is_local:
        jacobian = xp.einsum("nqc,nrqd->nrqcd", patches, record.flat_vectors)
    else:
        jacobian = patches.transpose(0, 2, 1)[:, None] @ record.flat_vectors
    return jacobian.reshape(len(record), -1)
