"""What a job costs: bytes, operations, seconds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isqrt, prod, sqrt

from gramserve.spec import KernelSpec, Precision
from gramserve.stages import PairCost, count_operations

LAYER_OPERATIONS_PER_SECOND = 4.5e9
"""Operations of layers per second and core in the dense evaluation (docs/benchmarks.md)."""

INPUT_OPERATIONS_PER_SECOND = 2e10
"""Operations of its inner products per second and core: those are matrix products."""

PLANE_NANOSECONDS = {
    "product": 0.035, "affine": 0.017, "dual": 0.013, "pool": 0.025, "rows": 0.05
}  # fmt: skip
"""Nanoseconds per operation, and per row of a plane, on offset planes in float32."""

DOUBLE_FACTOR = 2.0
"""Times that float64 takes longer than float32 in the dense evaluation."""

PLANE_DOUBLE_FACTORS = {"product": 2.0, "affine": 2.5, "dual": 4.0, "pool": 2.0, "rows": 1.0}
"""The same on offset planes: half the lanes, and in duals longer polynomials."""

VARIANCE_NANOSECONDS = 0.25
"""Nanoseconds per pair and variance of an item: roots are taken and turned into lanes."""

FINITE_OPERATIONS_PER_SECOND = 4e10
"""Operations of finite networks per second and core: matrix products, and what is between."""

CUDA_OPERATIONS_PER_SECOND = 1.5e13
"""Operations on offset planes per second on a card: an estimate for an H200, not measured yet."""

CUDA_PAIR_NANOSECONDS = 20.0
"""Nanoseconds per pair besides: its indices, and its values on their way to the host; estimated."""

CUDA_PRECISION_FACTORS = {"float32": 1.0, "mixed": 1.25, "float64": 4.0}
"""Times that a card takes longer than in float32; estimated for cards of data centres."""

TARGET_BLOCK_SECONDS = 20.0
"""How long one block should take, in seconds: long against its overhead, short to lose."""

SMALLEST_BLOCK = 32
"""Smallest block size that is chosen without being asked for, in entries."""

LARGEST_BLOCK = 1024
"""Largest block size that is chosen without being asked for, in entries."""

LARGEST_CUDA_BLOCK = 4096
"""The same for a card, which would be done with such a block in milliseconds."""

_LANES = 16
"""Columns in a vector, at most."""


@dataclass(frozen=True)
class Cost:
    """What a job costs."""

    result_bytes: int
    """Bytes of all matrices asked for, both triangles."""
    peak_worker_bytes: int
    """Bytes one worker needs at least for one block, with one thread."""
    temporary_bytes: int
    """Of these, what the engine needs besides results and items."""
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


def block_bytes(
    spec: KernelSpec,
    pair: PairCost,
    item_shape: Sequence[int],
    precision: Precision,
    block_size: int,
    *,
    item_size: int = 8,
) -> int:
    """Return the bytes a block holds besides the temporaries of the engine.

    Every kernel's values as they are computed and as they are stored, one copy while it is
    written, and the items and variances of the four panels that a worker keeps.

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
    kernels = (2 if "ntk" in spec.kernels else 1) * (1 + len(spec.readouts))
    # The fast engines compute whole vectors of columns.
    filled = -(-block_size // _LANES) * _LANES
    results = kernels * block_size * filled * working_bytes(precision)
    results += (len(spec.outputs) + 1) * block_size**2 * (item_bytes(precision) + 1)
    if spec.augment != "none":
        # The sum over the group in float64, what comes to it, and both panels' keys.
        results += len(spec.outputs) * 2 * block_size**2 * 8 + 1024 * block_size
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
        A power of two from 32 to 1024, or to 4096 for a card, such that a block takes about 20
        seconds.
    """
    pair = count_operations(spec, item_shape)
    pairs = TARGET_BLOCK_SECONDS / pair_seconds(pair, engine)
    wanted = max(1, isqrt(int(pairs)))
    if pair.item_operations:
        wanted = _items_in_time(pair, TARGET_BLOCK_SECONDS)
    largest = LARGEST_CUDA_BLOCK if engine == "cuda" else LARGEST_BLOCK
    return min(largest, max(SMALLEST_BLOCK, 1 << (wanted.bit_length() - 1)))


def _items_in_time(pair: PairCost, seconds: float) -> int:
    """Return the edge of a block of finite networks that takes this long.

    ``2 B`` items and ``B^2`` pairs: the root of a quadratic equation.
    """
    budget = seconds * FINITE_OPERATIONS_PER_SECOND
    root = sqrt(pair.item_operations**2 + pair.operations * budget)
    return max(1, int(budget / (pair.item_operations + root)))


def items_seconds(pair: PairCost, precision: Precision = "float32") -> float:
    """Return about how long one core takes for one item of a block, besides its pairs.

    Parameters
    ----------
    pair : PairCost
        From :func:`gramserve.stages.count_operations`.
    precision : {"float32", "mixed", "float64"}
        How to compute.

    Returns
    -------
    float
        Seconds; 0 but for finite networks, through which every item of a block goes once.
    """
    seconds = pair.item_operations / FINITE_OPERATIONS_PER_SECOND
    return seconds if precision == "float32" else DOUBLE_FACTOR * seconds


def pair_seconds(pair: PairCost, engine: str, precision: Precision = "float32") -> float:
    """Return about how long one core, or one card, takes for one pair of items.

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
    if engine == "cpu":
        nanoseconds = VARIANCE_NANOSECONDS * pair.variances
        for kind, count in asdict(pair.planes).items():
            each = PLANE_NANOSECONDS[kind]
            if precision == "float64":
                each *= PLANE_DOUBLE_FACTORS[kind]
            nanoseconds += each * int(count)
        return 1e-9 * nanoseconds
    if engine == "cuda":
        seconds = pair.planes.operations / CUDA_OPERATIONS_PER_SECOND
        return CUDA_PRECISION_FACTORS[precision] * seconds + 1e-9 * CUDA_PAIR_NANOSECONDS
    if engine == "finite":
        seconds = pair.operations / FINITE_OPERATIONS_PER_SECOND
        return seconds if precision == "float32" else DOUBLE_FACTOR * seconds
    layers = (pair.operations - pair.input_operations) / LAYER_OPERATIONS_PER_SECOND
    seconds = layers + pair.input_operations / INPUT_OPERATIONS_PER_SECOND
    return seconds if precision == "float32" else DOUBLE_FACTOR * seconds
