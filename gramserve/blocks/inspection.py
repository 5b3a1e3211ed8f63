"""What the stored numbers of a Gram matrix say: symmetry, diagonal, ends of the spectrum."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from gramserve.blocks.executor import Executor
from gramserve.store import GramStore

EXACT_ROWS = 2048
"""Up to this size all eigenvalues are exact to rounding."""

_MOST_STEPS = 96
_FEWEST_STEPS = 12
_READ_BYTES = 2**38
_POLL_SECONDS = 0.5
_SEED = 20


@dataclass(frozen=True)
class Inspection:
    """What was found."""

    symmetric: bool | None
    """Whether every mirror is the transpose to the bit; None of a rectangular matrix."""
    largest_value: float
    diagonal: tuple[float, float] | None = None
    """Smallest and largest entry (n, n)."""
    spectrum: dict[str, Any] | None = None
    """As :func:`spectrum_ends` returns it."""


@dataclass(frozen=True)
class InspectionTask:
    """Read a complete matrix in a worker and say what is found."""

    gram: str
    """Its path."""

    def run(self) -> Inspection:
        """Return what is found; checks every checksum on the way."""
        return inspect_gram(GramStore.open(self.gram))


def run_inspection(executor: Executor, gram: str, priority: int) -> Inspection:
    """Inspect a matrix on a worker.

    Parameters
    ----------
    executor : Executor
        Has the worker.
    gram : str
        Path of a complete matrix.
    priority : int
        Against the blocks of jobs.

    Returns
    -------
    Inspection

    Raises
    ------
    BlockMissingError, CorruptBlockError
        If the matrix is not complete or not intact.
    """
    with executor.session(priority) as session:
        session.submit(InspectionTask(gram))
        while True:
            for completion in session.poll(_POLL_SECONDS):
                if completion.error is not None:
                    raise completion.error
                found: Inspection = completion.result
                return found


def inspect_gram(gram: GramStore) -> Inspection:
    """Inspect a complete matrix.

    Parameters
    ----------
    gram : GramStore
        The matrix.

    Returns
    -------
    Inspection
        One pass over the blocks for symmetry and magnitude, then the spectrum.

    Raises
    ------
    BlockMissingError, CorruptBlockError
        If it is not complete or not intact.
    """
    largest, symmetric = 0.0, True
    for i, j in gram.planned_blocks():
        values = gram.read_block(i, j)
        largest = max(largest, float(np.abs(values).max()))
        if gram.symmetric:
            mirror = values if i == j else gram.read_block(j, i)
            symmetric = symmetric and np.array_equal(values, mirror.T)
    if not gram.symmetric:
        return Inspection(None, largest)
    diagonal = gram.diagonal()
    return Inspection(
        symmetric,
        largest,
        (float(diagonal.min()), float(diagonal.max())),
        spectrum_ends(gram),
    )


def spectrum_ends(gram: GramStore) -> dict[str, Any]:
    """Return the smallest and the largest eigenvalue of a symmetric matrix.

    Parameters
    ----------
    gram : GramStore
        Complete.

    Returns
    -------
    dict
        ``smallest``, ``largest``, ``method``, ``steps`` and ``residual``. Up to 2048 rows they
        are exact to rounding. Above, they are Ritz values of Lanczos' process: ``smallest`` is
        never below the smallest eigenvalue, and some eigenvalue lies within ``residual`` of it.

    Notes
    -----
    Every step reads the matrix once, in float64 sums; fewer steps are taken of a matrix so large
    that reading it takes minutes. All basis vectors are kept and every new one is made
    orthogonal to them twice, which takes ``steps`` vectors of memory and spares ghosts.

    References
    ----------
    Parlett, The Symmetric Eigenvalue Problem, chapters 11 to 13.
    """
    count = gram.shape[0]
    if count <= EXACT_ROWS:
        values = scipy.linalg.eigvalsh(gram.read().astype(np.float64))
        return _ends(values[0], values[-1], "exact", 0, 0.0)
    size = count * count * gram.dtype.itemsize
    steps = min(_MOST_STEPS, max(_FEWEST_STEPS, _READ_BYTES // size))
    return _lanczos(gram, steps)


def _lanczos(gram: GramStore, steps: int) -> dict[str, Any]:
    count = gram.shape[0]
    basis = np.zeros((steps + 1, count))
    first = np.random.default_rng(_SEED).normal(size=count)
    basis[0] = first / np.linalg.norm(first)
    main, beside = np.zeros(steps), np.zeros(steps)
    taken = steps
    for step in range(steps):
        vector = _times(gram, basis[step])
        main[step] = basis[step] @ vector
        known = basis[: step + 1]
        for _ in range(2):
            vector -= known.T @ (known @ vector)
        beside[step] = np.linalg.norm(vector)
        if beside[step] <= np.finfo(np.float64).eps * np.abs(main[: step + 1]).max():
            taken = step + 1
            break
        basis[step + 1] = vector / beside[step]
    values, vectors = scipy.linalg.eigh_tridiagonal(main[:taken], beside[: taken - 1])
    residual = beside[taken - 1] * abs(vectors[-1, 0])
    return _ends(values[0], values[-1], "lanczos", taken, residual)


def _times(gram: GramStore, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the product with the matrix, a panel of rows in memory at a time."""
    size = gram.block_size
    product = np.zeros(gram.shape[0])
    for i in range(gram.header.panels[0]):
        for j in range(gram.header.panels[1]):
            block = gram.read(_run(i, size, gram.shape[0]), _run(j, size, gram.shape[1]))
            product[i * size : (i + 1) * size] += block @ vector[j * size : (j + 1) * size]
    return product


def _run(panel: int, size: int, length: int) -> range:
    return range(panel * size, min((panel + 1) * size, length))


def _ends(
    smallest: float, largest: float, method: str, steps: int, residual: float
) -> dict[str, Any]:
    return {
        "smallest": float(smallest),
        "largest": float(largest),
        "method": method,
        "steps": steps,
        "residual": float(residual),
    }
