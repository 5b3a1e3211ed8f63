"""Patches of units: what a convolution reads, and the adjoint map, which gives back.

Along each axis, output ``o`` reads input ``i = (s o + d t - l) / f`` at tap ``t`` where that is a
whole number inside the input (stride ``s``, dilation ``d``, low padding ``l``, fill ``f``), or
``i`` modulo the length when the convolution wraps around. :func:`unfold` copies these inputs into
patches and is linear; :func:`fold` is its transpose and adds what each patch gives back to the
inputs it was read from. A cross-correlation is ``unfold`` and one matrix product, so both of its
pullbacks follow from the two maps,

    z = unfold(x) W,    x_bar = fold(z_bar W^T),    W_bar = unfold(x)^T z_bar,

for every stride, dilation and fill. The high padding of the pullback into the input, which printed
tables of convolution arithmetic often get wrong for dilation, never appears: the lengths of the
arrays say it.

References
----------
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Array, namespace_of
from gramserve.kernels.taps import Window, tap_slices
from gramserve.spec import layers
from gramserve.spec.shapes import Positions, positions_of, resolve_padding

_Places = tuple[slice | NDArray[np.intp], ...]


def conv_windows(layer: layers.Conv | layers.ConvLocal, positions: Positions) -> tuple[Window, ...]:
    """Return the window of a convolution along every axis.

    Parameters
    ----------
    layer : Conv or ConvLocal
        A layer of a normalised spec.
    positions : tuple of int
        Positions before it.

    Returns
    -------
    tuple of Window
        One for each axis.
    """
    after, padding = positions_of(layer, positions), resolve_padding(layer, positions)
    return tuple(
        Window(
            size=layer.size[axis],  # type: ignore[index]
            outputs=after[axis],
            stride=layer.strides[axis],  # type: ignore[index]
            low=padding[axis][0],
            dilation=layer.dilation[axis],  # type: ignore[index]
            fill=layer.fill[axis],  # type: ignore[index]
            is_circular=layer.padding == "circular",
        )
        for axis in range(len(positions))
    )


@lru_cache(maxsize=256)
def tap_places(
    windows: tuple[Window, ...], positions: Positions
) -> tuple[tuple[_Places, _Places], ...]:
    """Return which outputs read which inputs at every tap of a filter.

    Parameters
    ----------
    windows : tuple of Window
        One for each axis.
    positions : tuple of int
        Positions of the input.

    Returns
    -------
    tuple of (outputs, inputs)
        For every tap, taps in C order: indices of equal shape, one entry for each axis. No input
        is read twice through one tap.
    """
    axes = range(len(windows))
    if windows and windows[0].is_circular:
        whole = tuple(slice(0, window.outputs) for window in windows)
        return tuple(
            (
                whole,
                tuple(
                    _wrapped(windows[axis], tap[axis], positions[axis]).reshape(
                        -1, *(1,) * (len(windows) - axis - 1)
                    )
                    for axis in axes
                ),
            )
            for tap in product(*(range(window.size) for window in windows))
        )
    pairs = [
        [tap_slices(windows[axis], tap, positions[axis]) for tap in range(windows[axis].size)]
        for axis in axes
    ]
    return tuple(
        (tuple(pair[0] for pair in choice), tuple(pair[1] for pair in choice))
        for choice in product(*pairs)
    )


def _wrapped(window: Window, tap: int, length: int) -> NDArray[np.intp]:
    return (window.stride * np.arange(window.outputs) + window.offset(tap)) % length


def _on_device(places: _Places, array: Array) -> _Places:
    """Return indices that this kind of array takes."""
    xp = namespace_of(array)
    return tuple(place if isinstance(place, slice) else xp.asarray(place) for place in places)


def _is_pointwise(windows: Sequence[Window], positions: Positions) -> bool:
    """Return whether every output reads the one input at its own place."""
    return all(
        (window.size, window.stride, window.low, window.fill, window.outputs)
        == (1, 1, 0, 1, length)
        for window, length in zip(windows, positions, strict=True)
    )


def unfold(units: Array, windows: tuple[Window, ...], taps: slice = slice(None)) -> Array:
    """Return the patches that a convolution reads, zeros where a tap reads nothing.

    Parameters
    ----------
    units : array, (b, *P, C)
        Units of ``b`` items; not changed.
    windows : tuple of Window
        One for each axis; none for a dense layer.
    taps : slice
        Only these taps of the filter, in C order.

    Returns
    -------
    array, (b, Q, T, C)
        ``Q`` outputs of all axes together, ``T`` taps. A view where nothing moves.
    """
    batch, channels = units.shape[0], units.shape[-1]
    if _is_pointwise(windows, units.shape[1:-1]):
        return units.reshape(batch, prod(units.shape[1:-1]), 1, channels)
    places = tap_places(windows, units.shape[1:-1])[taps]
    outputs = tuple(window.outputs for window in windows)
    patches = namespace_of(units).zeros((batch, *outputs, len(places), channels), units.dtype)
    for number, (into, of) in enumerate(places):
        patches[(slice(None), *into, number)] = units[(slice(None), *_on_device(of, units))]
    return patches.reshape(batch, prod(outputs), len(places), channels)


def fold(patches: Array, windows: tuple[Window, ...], positions: Positions) -> Array:
    """Return to every input the sum of what the patches hold at its places.

    Parameters
    ----------
    patches : array, (b, Q, T, C)
        As :func:`unfold` returns them, all taps; not changed.
    windows : tuple of Window
        One for each axis.
    positions : tuple of int
        ``P``, positions of the input.

    Returns
    -------
    array, (b, *P, C)
        The transpose of :func:`unfold` applied to the patches. A view where nothing moves.
    """
    batch, channels = patches.shape[0], patches.shape[-1]
    if _is_pointwise(windows, positions):
        return patches.reshape(batch, *positions, channels)
    outputs = tuple(window.outputs for window in windows)
    patches = patches.reshape(batch, *outputs, patches.shape[2], channels)
    units = namespace_of(patches).zeros((batch, *positions, channels), patches.dtype)
    for number, (of, into) in enumerate(tap_places(windows, positions)):
        units[(slice(None), *_on_device(into, units))] += patches[(slice(None), *of, number)]
    return units
