"""What ends a stage: windows that lie side by side, and factors of readouts."""

from math import prod

from gramserve.spec import layers
from gramserve.stages import Stage

Pools = layers.AvgPool | layers.SumPool | layers.CknPool
"""Layers that couple tiles by windows."""

LARGEST_WINDOW = 4
"""Of pools that are done along with the tiles: there is code for every place in a window."""


def window_side_by_side(stage: Stage, layer: Pools) -> int | None:
    """Return the size of square windows that cover the image once, or None."""
    sizes = {(window.size, window.stride, window.low) for window in stage.windows}
    if len(sizes) != 1:
        return None
    ((size, stride, low),) = sizes
    if size != stride or low != 0 or not 2 <= size <= LARGEST_WINDOW:
        return None
    if tuple(size * length for length in stage.behind) != stage.after:
        return None
    return size if not isinstance(layer, layers.CknPool) or layer.kind == "average" else None


def readout_scale(stage: Stage) -> float:
    """Return the factor of the sum that a readout is."""
    count = prod(stage.after)
    match stage.exit:
        case layers.Flatten(average=True):
            return 1 / count
        case layers.GlobalAvgPool():
            return 1 / count**2
        case _:
            return 1.0
