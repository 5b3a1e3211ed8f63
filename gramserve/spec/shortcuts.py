"""Shortcuts past ranges of layers, written as branches."""

from collections.abc import Iterable, Sequence
from typing import Any

Shortcut = tuple[int, int]
"""The layers ``start`` to ``stop - 1`` that it passes by; it is added to the input of ``stop``."""


def find_crossing(shortcuts: Iterable[Shortcut]) -> tuple[Shortcut, Shortcut] | None:
    """Return two shortcuts that cannot both be branches, or None.

    Parameters
    ----------
    shortcuts : iterable of (int, int)
        Ranges of layers, no two with the same end.

    Returns
    -------
    pair of (int, int) or None
        The second begins inside the first and ends behind it. One that begins at the very end of
        another does so too: it starts from a layer's own output, before the other is added to it.

    Examples
    --------
    >>> find_crossing([(1, 4), (2, 3), (5, 7)])
    >>> find_crossing([(1, 4), (2, 6)])
    ((1, 4), (2, 6))
    """
    ordered = sorted(shortcuts)
    for index, first in enumerate(ordered):
        for second in ordered[index + 1 :]:
            if first[0] < second[0] <= first[1] < second[1]:
                return first, second
    return None


def nest(
    pieces: Sequence[Sequence[dict[str, Any]]], shortcuts: Sequence[Shortcut]
) -> list[dict[str, Any]]:
    """Return a network in which every shortcut is a ``residual`` of two branches.

    Parameters
    ----------
    pieces : sequence of sequences of layers
        The plain layers of every layer.
    shortcuts : sequence of (int, int)
        Ranges of pieces, not crossing one another.

    Returns
    -------
    list of dict
        Layers as JSON.

    Examples
    --------
    >>> a, b, c = ({"type": name} for name in ("abs", "erf", "gelu"))
    >>> nest([[a], [b], [c]], [(1, 2)])
    [{'type': 'abs'}, {'type': 'residual', 'branches': [[], [{'type': 'erf'}]]}, {'type': 'gelu'}]
    """
    return _walk(pieces, shortcuts, 0, len(pieces))


def _walk(
    pieces: Sequence[Sequence[dict[str, Any]]], shortcuts: Sequence[Shortcut], start: int, stop: int
) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    index = start
    while index < stop:
        # The widest that begins here, other than the one whose inside this is.
        ends = [end for begin, end in shortcuts if begin == index and end < stop]
        if ends:
            inside = _walk(pieces, shortcuts, index, max(ends))
            layers.append({"type": "residual", "branches": [[], inside]})
            index = max(ends)
        else:
            layers += pieces[index]
            index += 1
    return layers
