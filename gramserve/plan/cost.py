"""What a job costs: bytes, operations, seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

from gramserve.spec import KernelSpec, Precision
from gramserve.stages import PairCost, count_operations

LAYER_OPERATIONS_PER_SECOND = {"cpu": 2.6e10, "reference": 4.5e9}
"""Operations of layers per second and core by engine (docs/benchmarks.md, "Engines").

Of the cpu engine on the offset planes that are needed, of the reference engine on all of them."""

INPUT_OPERATIONS_PER_SECOND = 2e10
"""Operations of the items' inner products per second and core: those are matrix products."""

DOUBLE_FACTOR = 2.0
"""Times that float64 takes longer than float32, measured likewise."""

_UNKNOWN_RATE = LAYER_OPERATIONS_PER_SECOND["reference"]

TARGET_BLOCK_SECONDS = 20.0
"""How long one block should take, in seconds: long against its overhead, short to lose."""

SMALLEST_BLOCK = 32
"""Smallest block size that is chosen without being asked for, in entries."""

LARGEST_BLOCK = 1024
"""Largest block size that is chosen without being asked for, in entries."""

_STATES_AT_ONCE = 10
"""Covariances of the largest layer alive at once in the dense evaluation."""


@dataclass(frozen=True)
class Cost:
    """What a job costs."""

    result_bytes: int
    """Bytes of all matrices asked for, both triangles."""
    peak_worker_bytes: int
    """Bytes one worker needs at least for one block, one pair at a time."""
    pair_bytes: int
    """Of these, the temporaries of one pair."""
    operations: int
    """Operations of the blocks still to compute."""
    seconds: float
    """Estimated seconds for them, on all workers together."""


def item_bytes(precision: Precision) -> int:
    """Return the bytes of one stored entry."""
    return 8 if precision == "float64" else 4


def working_bytes(precision: Precision) -> int:
    """Return the bytes of one number while computing."""
    return 4 if precision == "float32" else 8


def pair_bytes(pair: PairCost, item_shape: Sequence[int], precision: Precision) -> int:
    """Return the temporary bytes of one pair in the dense evaluation.

    Parameters
    ----------
    pair : PairCost
        From :func:`gramserve.stages.count_operations`.
    item_shape : sequence of int
        Shape of one item.
    precision : {"float32", "mixed", "float64"}
        How to compute.

    Returns
    -------
    int
        Bytes.
    """
    states = _STATES_AT_ONCE + 4 * pair.branch_depth
    return (states * pair.largest_entries + 2 * prod(item_shape)) * working_bytes(precision)


def block_bytes(
    spec: KernelSpec,
    pair: PairCost,
    item_shape: Sequence[int],
    precision: Precision,
    block_size: int,
    *,
    item_size: int = 8,
) -> int:
    """Return the bytes a block holds besides the temporaries of its pairs.

    The result of every kernel (with one copy while it is written), and the items and variances
    of the four panels that a worker keeps.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    pair : PairCost
        From :func:`gramserve.stages.count_operations`.
    item_shape : sequence of int
        Shape of one item.
    precision : {"float32", "mixed", "float64"}
        How to compute.
    block_size : int
        B, in entries.
    item_size : int
        Bytes of one number of the items.

    Returns
    -------
    int
        Bytes.
    """
    results = (len(spec.kernels) + 1) * block_size**2 * item_bytes(precision)
    panels = 4 * block_size * (prod(item_shape) * item_size + pair.variances * 8)
    return results + panels


def choose_block_size(spec: KernelSpec, item_shape: Sequence[int], engine: str) -> int:
    """Return a block size from the cost of a pair alone.

    It does not depend on the number of items, so that a data set that grows keeps its blocks.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.
    engine : str
        Name of the engine.

    Returns
    -------
    int
        A power of two from 32 to 1024, such that a block takes about 20 seconds.
    """
    pairs = TARGET_BLOCK_SECONDS / pair_seconds(count_operations(spec, item_shape), engine)
    wanted = max(1, isqrt(int(pairs)))
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << (wanted.bit_length() - 1)))


def pair_seconds(pair: PairCost, engine: str, precision: Precision = "float32") -> float:
    """Return about how long one core takes for one pair of items.

    Parameters
    ----------
    pair : PairCost
        From :func:`gramserve.stages.count_operations`.
    engine : str
        Name of the engine, whose measured rate is used.
    precision : {"float32", "mixed", "float64"}
        How to compute.

    Returns
    -------
    float
        Seconds; an order of magnitude, because machines differ.
    """
    rate = LAYER_OPERATIONS_PER_SECOND.get(engine, _UNKNOWN_RATE)
    if engine == "cpu":
        seconds = pair.plane_operations / rate
        return seconds if precision == "float32" else DOUBLE_FACTOR * seconds
    layers = (pair.operations - pair.input_operations) / rate
    seconds = layers + pair.input_operations / INPUT_OPERATIONS_PER_SECOND
    return seconds if precision == "float32" else DOUBLE_FACTOR * seconds
