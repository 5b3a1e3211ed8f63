"""States and schedules of a network as integers on a device."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.cuda.steps import Offsets, StateForm

Ints = NDArray[np.int32]


def _ints(values: Sequence[int] | Sequence[Sequence[int]]) -> Ints:
    return np.asarray(values, np.int32)


def slots(offsets: Sequence[int], size: int) -> Ints:
    """Return where each offset of an axis is kept.

    Parameters
    ----------
    offsets : sequence of int
        Those that are kept.
    size : int
        Of the image along the axis.

    Returns
    -------
    ndarray of int32, (size,)
        -1 for the others.
    """
    found = np.full(size, -1, np.int32)
    found[list(offsets)] = np.arange(len(offsets))
    return found


def axis_tables(form: StateForm) -> tuple[Ints, Ints, Ints, Ints]:
    """Return offsets and slots of the rows of a state, then of its columns."""
    height, width = form.positions
    rows, columns = form.offsets.rows, form.offsets.columns
    return _ints(rows), slots(rows, height), _ints(columns), slots(columns, width)


def row_runs(kept: Sequence[int], pooled: int) -> Ints:
    """Return in which order a pool takes runs of offsets ``a = A w + r``, and what it writes.

    A run adds to pooled offsets A and A + 1. So what is needed of A is complete after the runs
    A - 1 and A, which follow each other.

    Parameters
    ----------
    kept : sequence of int
        Pooled offsets that are needed.
    pooled : int
        Size of the pooled image along the axis.

    Returns
    -------
    ndarray of int32, (runs, 4)
        ``Run`` of ``pool.cuh``: A, whether the run before it has added nothing to A, where A is
        kept (-1: it is not needed), where A + 1 is kept if this run has to complete it.
    """
    places = slots(kept, pooled)
    taken = set(kept) | {(offset - 1) % pooled for offset in kept}
    order = sorted(taken)
    if len(order) < pooled:
        # Begin where the run before is not taken, or a row would be split over both ends.
        starts = [offset for offset in order if (offset - 1) % pooled not in taken]
        order = sorted(order, key=lambda offset: (offset - starts[0]) % pooled)
    found = []
    for number, offset in enumerate(order):
        after = (offset + 1) % pooled
        is_fresh = number == 0 or order[number - 1] != (offset - 1) % pooled
        follows = number + 1 < len(order) and order[number + 1] == after
        found.append((offset, is_fresh, places[offset], -1 if follows else places[after]))
    return _ints(found)


def column_runs(kept: Sequence[int], pooled: int) -> Ints:
    """Return the runs of offsets ``b = B w + q`` of a pool.

    Parameters
    ----------
    kept : sequence of int
        Pooled offsets that are needed.
    pooled : int
        Size of the pooled image along the axis.

    Returns
    -------
    ndarray of int32, (runs, 3)
        ``ColumnRun`` of ``pool.cuh``: B, and where B and B + 1 are kept (-1: not needed).
    """
    places = slots(kept, pooled)
    taken = sorted(set(kept) | {(offset - 1) % pooled for offset in kept})
    return _ints([(offset, places[offset], places[(offset + 1) % pooled]) for offset in taken])


def offset_tables(offsets: Offsets) -> tuple[Ints, Ints]:
    """Return offsets of rows and of columns."""
    return _ints(offsets.rows), _ints(offsets.columns)
