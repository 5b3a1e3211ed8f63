"""A Gram matrix in memory: no server, no files."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, MemoryBudgetError, ShapeError, SpecError
from gramserve.kernels import (
    Engine,
    Items,
    check_differentiable,
    check_items,
    choose_engine,
    differentiate_in_pieces,
    differentiate_kernel,
    pair_bytes,
)
from gramserve.machine import physical_memory_bytes, usable_cores
from gramserve.spec import (
    PRECISIONS,
    Derivative,
    KernelName,
    KernelSpec,
    Precision,
    derivative_order,
    derivative_shape,
    infer_shapes,
    parse_derivative,
    parse_kernel,
)
from gramserve.spec.names import nearest


def _item_keys(values: NDArray[Any]) -> NDArray[np.bytes_]:
    """Return the SHA-256 of every item, little-endian and in C order."""
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return np.array([hashlib.sha256(item.tobytes()).hexdigest() for item in plain], dtype="S64")


def _prepare(
    values: NDArray[Any],
    engine: Engine,
    spec: KernelSpec,
    precision: Precision,
    limits: Mapping[str, int],
) -> Items:
    return Items(
        values,
        engine.variances(spec, values, precision, **limits),
        _item_keys(values),
    )


def _read_items(
    spec: KernelSpec, x: ArrayLike, x2: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    left = np.asarray(x)
    check_items(left, spec)
    infer_shapes(spec, left.shape[1:])
    if x2 is None:
        return left, None
    right = np.asarray(x2)
    check_items(right, spec, "x2")
    if right.shape[1:] != left.shape[1:]:
        msg = f"items of x have shape {left.shape[1:]}, items of x2 {right.shape[1:]}"
        raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])
    return left, right


def compute_gram(
    x: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    kernel: str | Mapping[str, Any] | KernelSpec,
    precision: Precision = "float32",
    engine: str = "auto",
    memory_bytes: int | None = None,
    threads: int | None = None,
) -> NDArray[Any] | dict[KernelName, NDArray[Any]]:
    """Return the Gram matrix ``K[i, j] = k(x_i, x_j)``, or ``k(x_i, x2_j)``, in memory.

    Parameters
    ----------
    x : array_like, (n, H, W, C) or (n, D)
        Items of any real dtype, used as they are: uint8 images are not scaled.
    x2 : array_like, (m, ...), optional
        Other items, of the same shape; the matrix is symmetric without them.
    kernel : str, mapping or KernelSpec
        A preset's name, a preset with options, or a full kernel spec.
    precision : {"float32", "mixed", "float64"}
        How to compute.
    engine : {"auto", "reference", "cpu", "cuda"}
        "auto" takes the fastest that runs the kernel.
    memory_bytes : int, optional
        Temporary memory allowed; a quarter of the machine's when not given.
    threads : int, optional
        Threads that share the work; one for every usable core when not given. The reference
        engine has one.

    Returns
    -------
    ndarray, (n, n) or (n, m)
        float64 for "float64", else float32. A dict of two, by kernel, when two are asked for.

    Raises
    ------
    SpecError
        When kernel, precision or items are wrong; all subclasses say what to do.
    EngineUnavailableError
        When no engine here runs the kernel.
    MemoryBudgetError
        When not even one pair of items fits.
    NonFiniteKernelError
        When a value overflows.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.eye(3)
    >>> compute_gram(x, kernel={"layers": [{"type": "dense"}]}).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    spec = parse_kernel(kernel)
    if precision not in PRECISIONS:
        msg = f"precision {precision!r} is not known{nearest(precision, PRECISIONS)}"
        raise SpecError(msg, errors=[{"loc": "precision", "message": msg}])
    runner, _ = choose_engine(spec, precision, engine)
    if threads is not None and threads < 1:
        msg = f"threads must be at least 1, got {threads}"
        raise SpecError(msg, errors=[{"loc": "threads", "message": msg}])
    left, right = _read_items(spec, x, x2)
    if right is not None:
        # In one dtype, an item that both sides hold has the same bytes and is known to be one.
        common = np.result_type(left, right)
        left, right = left.astype(common, copy=False), right.astype(common, copy=False)
    limits = {
        "memory_bytes": physical_memory_bytes() // 4 if memory_bytes is None else memory_bytes,
        "threads": usable_cores() if threads is None else threads,
    }
    rows = columns = _prepare(left, runner, spec, precision, limits)
    if right is not None:
        columns = _prepare(right, runner, spec, precision, limits)
    # The same items on both sides: the engine computes every pair once and mirrors it.
    gram = runner.evaluate(spec, rows, columns, precision, **limits)
    return gram if len(spec.kernels) > 1 else gram[spec.kernels[0]]


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
    left, right = _read_items(spec, x, x2)
    right = left if right is None else right
    count, length = left.shape
    along = _read_directions(derivative, directions, directions2, left.shape, right.shape)
    shape = derivative_shape(derivative, count, len(right), length)
    allowed = physical_memory_bytes() // 4 if memory_bytes is None else memory_bytes
    pair = pair_bytes(derivative, length, contracted=bool(along))
    result_bytes = 8 * (count * len(right) if along else prod(shape)) * len(spec.kernels)
    needed = result_bytes + pair * len(right)
    if needed > allowed:
        msg = (
            f"the derivative {derivative} of {count} x {len(right)} vectors of length {length} "
            f"needs {needed / 2**20:.1f} MiB, {allowed / 2**20:.1f} MiB are allowed; take fewer "
            "items at once, allow more memory or, if products with vectors are enough, give "
            "directions"
        )
        raise MemoryBudgetError(msg, needed_bytes=needed, allowed_bytes=allowed)
    columns = right.astype(np.float64)
    result = {}
    for name in spec.kernels:
        if along:
            result[name] = _contract(spec, left, columns, derivative, name, along)
            continue
        result[name] = np.empty(shape)
        start = 0
        budget = min(PIECE_BYTES, allowed - result_bytes)
        for piece in differentiate_in_pieces(
            spec, left, columns, derivative, name, piece_bytes=budget
        ):
            result[name][start : start + len(piece)] = piece
            start += len(piece)
    return result if len(spec.kernels) > 1 else result[spec.kernels[0]]
