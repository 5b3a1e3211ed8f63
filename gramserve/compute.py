"""A Gram matrix in memory: no server, no files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import SpecError
from gramserve.kernels import Engine, Items, choose_engine, item_keys, read_items
from gramserve.machine import physical_memory_bytes, usable_cores
from gramserve.spec import PRECISIONS, KernelSpec, OutputName, Precision, parse_kernel
from gramserve.spec.names import nearest


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
        item_keys(values),
    )


def compute_gram(
    x: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    kernel: str | Mapping[str, Any] | KernelSpec,
    precision: Precision = "float32",
    engine: str = "auto",
    memory_bytes: int | None = None,
    threads: int | None = None,
) -> NDArray[Any] | dict[OutputName, NDArray[Any]]:
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
    engine : {"auto", "reference", "cpu", "cuda", "finite"}
        "auto" takes the fastest that runs the kernel; finite networks have one of their own.
    memory_bytes : int, optional
        Temporary memory allowed; a quarter of the machine's when not given.
    threads : int, optional
        Threads that share the work; one for every usable core when not given. The reference
        engine has one.

    Returns
    -------
    ndarray, (n, n) or (n, m)
        float64 for "float64", else float32. A dict by output when more than one
        kernel is asked for: "nngp", "ntk", and "name.nngp" of readouts.

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
    left, right = read_items(spec, x, x2)
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
    return gram if len(spec.outputs) > 1 else gram[spec.outputs[0]]
