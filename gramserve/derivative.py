"""Derivatives of a fully connected kernel in memory: no server, no files."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, MemoryBudgetError, ShapeError, SpecError
from gramserve.kernels import (
    PIECE_BYTES,
    Directions,
    check_differentiable,
    check_dtype,
    differentiate_kernel,
    pair_bytes,
    read_items,
)
from gramserve.machine import physical_memory_bytes
from gramserve.spec import (
    Derivative,
    KernelName,
    KernelSpec,
    derivative_order,
    derivative_shape,
    parse_derivative,
    parse_kernel,
)

Shape = tuple[int, ...]


def compute_derivative(
    x: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    kernel: str | Mapping[str, Any] | KernelSpec,
    derivative: Derivative,
    directions: ArrayLike | None = None,
    directions2: ArrayLike | None = None,
    memory_bytes: int | None = None,
) -> NDArray[np.float64] | dict[KernelName, NDArray[np.float64]]:
    """Return a derivative of a fully connected kernel in the vectors it compares, in memory.

    ======== ============================= =============
    "dx"     ``dk(x_i, x2_j) / dx_i``      (n, m, D)
    "dx2"    ``dk(x_i, x2_j) / dx2_j``     (n, m, D)
    "dxdx2"  ``d2k / dx_i dx2_j^T``        (n, m, D, D)
    "dxdx"   ``d2k / dx_i dx_i^T``         (n, m, D, D)
    ======== ============================= =============

    "dxdx2" is the covariance of the random network's gradients at the two vectors.

    Parameters
    ----------
    x : array_like, (n, D)
        Vectors of any real dtype.
    x2 : array_like, (m, D), optional
        Others; x itself without them.
    kernel : str, mapping or KernelSpec
        A network of dense layers, activations and branches.
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Which.
    directions : array_like, (n, D) or (D,), optional
        u of every row item, or of all: for ``u . dk/dx``, ``u (d2k/dx dx^T) u`` and, with
        ``directions2``, ``u (d2k/dx dx2^T) u2``, without ever holding D or D^2 numbers a pair.
    directions2 : array_like, (m, D) or (D,), optional
        Of the column items: for "dx2" and "dxdx2".
    memory_bytes : int, optional
        Memory allowed, result included; a quarter of the machine's when not given.

    Returns
    -------
    ndarray of float64, shape as above, or (n, m) with directions
        inf in every component of a pair whose derivative does not exist or is infinite. A dict of
        two, by kernel, when two are asked for.

    Raises
    ------
    SpecError
        When a layer has no derivatives, or the derivative, the items or the directions are
        wrong; all subclasses say what to do.
    MemoryBudgetError
        When the result does not fit.
    NonFiniteKernelError
        When a value overflows.

    Notes
    -----
    Computed in float64. Which derivatives exist where: docs/kernels.md, "Derivatives".

    Examples
    --------
    >>> import numpy as np
    >>> linear = {"layers": [{"type": "dense", "w_std": 2}]}
    >>> compute_derivative([[1.0, 0.0]], [[3.0, 5.0]], kernel=linear, derivative="dx").tolist()
    [[[12.0, 20.0]]]
    """
    spec, derivative = parse_kernel(kernel), parse_derivative(derivative)
    check_differentiable(spec)
    left, right = read_items(spec, x, x2)
    rows = left.astype(np.float64)
    columns = rows if right is None else right.astype(np.float64)
    sides = (rows.shape, columns.shape)
    along = _read_directions(derivative, (directions, directions2), sides)
    shape = derivative_shape(derivative, len(rows), len(columns), rows.shape[1])
    shape = shape if along is None else shape[:2]
    allowed = physical_memory_bytes() // 4 if memory_bytes is None else memory_bytes
    row_bytes = len(columns) * pair_bytes(derivative, rows.shape[1], contracted=along is not None)
    result_bytes = 8 * prod(shape) * len(spec.kernels)
    if result_bytes + row_bytes > allowed:
        raise _too_large(derivative, sides, result_bytes + row_bytes, allowed)
    step = max(1, min(PIECE_BYTES, allowed - result_bytes) // row_bytes)
    result = {name: np.empty(shape) for name in spec.kernels}
    for start in range(0, len(rows), step):
        run = slice(start, start + step)
        now = None if along is None else along.of_rows(run)
        for name in spec.kernels:
            result[name][run] = differentiate_kernel(
                spec, rows[run], columns, derivative, name, along=now
            )
    return result if len(spec.kernels) > 1 else result[spec.kernels[0]]


def _too_large(
    derivative: Derivative, sides: tuple[Shape, Shape], needed: int, allowed: int
) -> MemoryBudgetError:
    (rows, length), (columns, _) = sides
    msg = (
        f"the derivative {derivative} of {rows} x {columns} vectors of length {length} needs "
        f"{needed / 2**20:.1f} MiB, {allowed / 2**20:.1f} MiB are allowed; take fewer items at "
        "once, allow more memory or, if products with vectors are enough, give directions"
    )
    return MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=allowed)


def _read_directions(
    derivative: Derivative,
    given: tuple[ArrayLike | None, ArrayLike | None],
    sides: tuple[Shape, Shape],
) -> Directions | None:
    """Return one direction for every item, or None where none are given."""
    if all(part is None for part in given):
        return None
    names = ("directions", "directions2")
    wanted = derivative_order(derivative)
    faults = []
    for name, part, order in zip(names, given, wanted, strict=True):
        if (part is not None) != bool(order):
            what = "takes no" if part is not None else "needs"
            faults.append({"loc": name, "message": f"the derivative {derivative} {what} {name}"})
    if faults:
        raise SpecError("; ".join(fault["message"] for fault in faults), errors=faults)
    read = [
        None if part is None else _read_side(name, part, shape)
        for name, part, shape in zip(names, given, sides, strict=True)
    ]
    return Directions(*read)


def _read_side(name: str, given: ArrayLike, shape: Shape) -> NDArray[np.float64]:
    values = np.asarray(given)
    check_dtype(values.dtype)
    if values.shape not in {shape, shape[1:]}:
        msg = f"{name} have shape {values.shape}; they need {shape}, or {shape[1:]} for all items"
        raise ShapeError(msg, errors=[{"loc": name, "message": msg}])
    if not np.isfinite(values).all():
        msg = f"{name} hold NaN or infinity"
        raise InvalidDataError(msg, errors=[{"loc": name, "message": msg}])
    return np.broadcast_to(values.astype(np.float64), shape)
