"""Variances: every item against itself, one lane an item."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.cpu.run import Room, aligned, in_lanes, lanes_of
from gramserve.kernels.cpu.tables import Program
from gramserve.kernels.inputs import input_vectors
from gramserve.spec import KernelSpec

_DTYPE = np.dtype(np.float64)


def record_variances(
    spec: KernelSpec,
    program: Program,
    items: NDArray[Any],
    found: NDArray[np.float64],
    threads: int,
) -> None:
    """Write the variances of items at every layer that needs them, in float64.

    On planes of offset (0, 0) the covariance of an item with itself is its variance; they come
    first in every stage, and the planes of other offsets read what they have recorded.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    program : Program
        Written for variances of it; without numeric activations, whose coefficients need variances
        first.
    items : ndarray, (n, *item_shape)
        The items.
    found : ndarray of float64, (n, V)
        Receives them; not checked for NaN and infinity.
    threads : int
        Threads that share the items.
    """
    if threads == 1:
        _record(spec, program, items, found)
        return
    step = -(-len(items) // threads)
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(start, start + step) for start in range(0, len(items), step)]
        for done in [pool.submit(_record, spec, program, items[p], found[p]) for p in parts]:
            done.result()


def _record(
    spec: KernelSpec, program: Program, items: NDArray[Any], found: NDArray[np.float64]
) -> None:
    length = found.shape[1]
    room = Room(program, _DTYPE, ntk=False)
    lanes = lanes_of(_DTYPE)
    marks = aligned((1, lanes), _DTYPE)
    # One memory, read as a table of vectors on one side and flat on the other.
    norms, inverses = aligned((2, 1, max(1, length), lanes), _DTYPE)
    recorded = aligned((length * lanes,), _DTYPE)
    no_terms = aligned((1, 1, lanes), _DTYPE)
    results = max(1, len(program.results))
    value, nothing = aligned((2, 1, results * lanes), _DTYPE)
    tails = [
        program.tail_stage(ops, 1, 1, 0, has_tangent=False)
        for ops in (*itertools.pairwise(program.tail), *(tap.ops for tap in program.taps))
    ]
    last = len(program.stages)
    for start in range(0, len(items), lanes):
        group = np.minimum(np.arange(start, start + lanes), len(items) - 1)
        flat = input_vectors(spec, items[group], _DTYPE).reshape(lanes, -1)
        values = in_lanes(flat if last else flat[:, :1], _DTYPE).reshape(1, -1, lanes)
        mine = (values * program.channel_scale, norms, inverses, norms, inverses, no_terms)
        yours = (
            values.reshape(-1), norms.reshape(-1), inverses.reshape(-1), no_terms.reshape(-1),
        )  # fmt: skip
        if last:
            room.evaluate((0, last), mine, yours, marks, (value, nothing), recorded)
        else:
            # Without positions a covariance is one number, and its layers are the tail.
            value[0] = np.einsum("nk,nk->n", flat, flat) * program.channel_scale

        def walk(tail: NDArray[np.int64], at: NDArray[Any]) -> None:
            if tail[0, 0] < tail[0, 1]:
                room.evaluate_tail(tail, mine, yours, marks, (at,), recorded)  # noqa: B023

        numbers = value.reshape(results, lanes)
        segments = len(program.tail) - 1
        for tap, tail in zip(program.taps, tails[segments:], strict=True):
            if tap.result is not None:
                walk(tail, numbers[tap.result])
        for point, segment in enumerate(tails[:segments], 1):
            walk(segment, numbers[0])
            for tap, tail in zip(program.taps, tails[segments:], strict=True):
                if tap.result is None and tap.shared == point:
                    branch = aligned((lanes,), _DTYPE)
                    branch[...] = numbers[0]
                    walk(tail, branch)
        count = min(lanes, len(items) - start)
        found[start : start + count] = recorded.reshape(length, lanes).T[:count]
