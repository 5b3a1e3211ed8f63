"""Sums over the taps of a window along one axis: what convolutions and pools have in common.

Tap ``t`` of output ``o`` reads input ``i = (s o + d t - l) / f`` when that is a whole number
inside the input (stride ``s``, dilation ``d``, padding ``l``, fill ``f``). A convolution reads
equal taps of both positions together, a pool reads the taps of each position on its own; both
are a loop over taps of additions of whole slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from gramserve.arrays import Array, namespace_of

_Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """A window along one axis."""

    size: int
    """Taps."""
    outputs: int
    """Positions after the layer."""
    stride: int = 1
    """Step of the output, in filled inputs."""
    low: int = 0
    """Padding before the first input."""
    dilation: int = 1
    """Distance of taps, in filled inputs."""
    fill: int = 1
    """Distance of inputs after filling with zeros."""
    is_circular: bool = False
    """Whether inputs beyond the edge wrap around instead of reading as zero."""

    def offset(self, tap: int) -> int:
        """Return which filled input a tap of output 0 reads."""
        return self.dilation * tap - self.low


def tap_slices(window: Window, tap: int, length: int) -> _Slices:
    """Return the outputs that read an input through this tap, and those inputs.

    Parameters
    ----------
    window : Window
        Not circular.
    tap : int
        From 0.
    length : int
        Inputs along the axis.

    Returns
    -------
    (slice, slice)
        Outputs and inputs, of one length; both empty when the tap only reads zeros.

    Examples
    --------
    >>> tap_slices(Window(size=3, outputs=5, low=1), 0, 5)
    (slice(1, 5, 1), slice(0, 4, 1))
    """
    stride, fill, offset = window.stride, window.fill, window.offset(tap)
    step = fill // gcd(stride, fill)
    # Outputs that meet a real input, not a filled zero, repeat with this step.
    start = max(0, -(offset // stride))
    first = next((o for o in range(start, start + step) if (stride * o + offset) % fill == 0), None)
    last = min(window.outputs - 1, ((length - 1) * fill - offset) // stride)
    if first is None or first > last:
        return slice(0, 0), slice(0, 0)
    count = (last - first) // step + 1
    origin, jump = (stride * first + offset) // fill, stride * step // fill
    return (
        slice(first, first + (count - 1) * step + 1, step),
        slice(origin, origin + (count - 1) * jump + 1, jump),
    )


def sum_taps(array: Array, sides: Sequence[int], window: Window) -> Array:
    """Return the sums over a window's taps, which all sides read together.

    Parameters
    ----------
    array : array
        Any shape; not changed.
    sides : sequence of int
        Axes of equal length that move with the window: two for a convolution of a covariance,
        one for a pool.
    window : Window
        The window.

    Returns
    -------
    array
        A new one, with ``window.outputs`` positions along every side.
    """
    xp = namespace_of(array)
    length = array.shape[sides[0]]
    if window.is_circular:
        return _sum_wrapped(array, sides, window, length)
    slices = [tap_slices(window, tap, length) for tap in range(window.size)]
    everything = slice(0, window.outputs, 1)
    whole = next((pair for pair in slices if pair[0] == everything), None)
    if whole is None:
        shape = list(array.shape)
        for side in sides:
            shape[side] = window.outputs
        result = xp.zeros(shape, dtype=array.dtype)
    else:
        # A tap that reaches every output starts the sum: one pass less than adding to zeros.
        slices.remove(whole)
        result = array[_place(array.ndim, sides, whole[1])].copy()
    for outputs, inputs in slices:
        result[_place(array.ndim, sides, outputs)] += array[_place(array.ndim, sides, inputs)]
    return result


def _sum_wrapped(array: Array, sides: Sequence[int], window: Window, length: int) -> Array:
    result: Array | None = None
    for tap in range(window.size):
        index = window.stride * namespace_of(array).arange(window.outputs) + window.offset(tap)
        part = array
        for side in sides:
            part = part.take(index % length, axis=side)
        if result is None:
            result = part
        else:
            result += part
    return result


def _place(axes: int, sides: Sequence[int], where: slice) -> tuple[slice, ...]:
    return tuple(where if axis in sides else slice(None) for axis in range(axes))
