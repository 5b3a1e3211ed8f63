"""Sets of planes, and the cyclic tiles that contain them."""

from gramserve.kernels.cuda.steps import Offsets, StateForm
from gramserve.stages import Offset

Planes = frozenset[Offset]
"""True offsets ``p' - p``."""


def scaled(planes: Planes, strides: Offset) -> Planes:
    """Return planes before layers whose strides multiply to these."""
    return frozenset((strides[0] * a, strides[1] * b) for a, b in planes)


def tiles_of(planes: Planes, positions: Offset) -> Offsets:
    """Return the cyclic tiles that contain planes, as a product."""
    height, width = positions
    rows = tuple(sorted({a % height for a, _ in planes}))
    return Offsets(rows, tuple(sorted({b % width for _, b in planes})))


def planes_of(form: StateForm) -> Planes:
    """Return the offsets that a state keeps, as planes."""
    return frozenset((a, b) for a in form.offsets.rows for b in form.offsets.columns)
