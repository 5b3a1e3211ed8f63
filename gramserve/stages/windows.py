"""How a layer reads the positions before it, along both axes.

Sequences are images one position wide here, and a state without positions is one position.
"""

from dataclasses import dataclass

from gramserve.spec import layers
from gramserve.spec.shapes import Positions, resolve_padding

Offset = tuple[int, int]
"""``p' - p`` along both axes; also a number of positions along both."""


@dataclass(frozen=True)
class Window:
    """One axis of a convolution or a pool.

    Output ``o`` reads through tap ``t`` the input ``(stride o + dilation t - low) / fill`` where
    that is one.
    """

    size: int = 1
    """Taps."""
    stride: int = 1
    low: int = 0
    """Positions of padding before the first."""
    dilation: int = 1
    fill: int = 1


Windows = tuple[Window, Window]


def as_pair(value: object) -> Offset:
    """Return positions or settings of one or no axis with a second axis of 1."""
    numbers = value if isinstance(value, tuple) else (value,)
    first, second = (*numbers, 1, 1)[:2]
    return int(first), int(second)


def _per_axis(value: object) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


def windows_of(layer: layers.Layer | None, positions: Positions) -> Windows:
    """Return the windows of a layer; one tap for layers without any.

    Parameters
    ----------
    layer : Layer or None
        A layer of a normalised spec.
    positions : tuple of int
        Positions before it.

    Returns
    -------
    (Window, Window)
        Down and across.
    """
    found: list[Window] = []
    match layer:
        case layers.CknPool(kind="strided"):
            found = [Window(1, layer.subsampling, -layer.subsampling) for _ in positions]
        case layers.CknPool():
            factor = layer.factor or layer.subsampling
            size = factor if layer.kind == "average" else 2 * factor + 1
            found = [Window(size, layer.subsampling) for _ in positions]
        case layers.AvgPool() | layers.SumPool():
            padding = resolve_padding(layer, positions)
            axes = zip(_per_axis(layer.window), _per_axis(layer.strides), padding, strict=True)
            found = [Window(size, stride, low) for size, stride, (low, _) in axes]
        case layers.Conv() | layers.ConvLocal():
            found = [
                Window(size, stride, low, dilation, fill)
                for size, stride, (low, _), dilation, fill in zip(
                    _per_axis(layer.size),
                    _per_axis(layer.strides),
                    resolve_padding(layer, positions),
                    _per_axis(layer.dilation),
                    _per_axis(layer.fill),
                    strict=True,
                )
            ]
    first, second = (*found, Window(), Window())[:2]
    return first, second
