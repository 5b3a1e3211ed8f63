"""Which layers the CUDA engine runs, and the C++ types of their duals."""

from collections.abc import Iterable

from gramserve.kernels.closed_forms import (
    BELL,
    BENT,
    DISTANCE,
    ERROR_FUNCTION,
    ERROR_UNIT,
    EXPONENTIAL,
    GROWTH,
    NORMALISE,
    POWER,
    RAMP,
    RAMP_POWER,
    RAMP_SQUARED,
    RIPPLED_BELL,
    SERIES,
    SQUARE,
    STAIR,
    WAVE,
    describe_dual,
    find_extreme,
    find_reason,
)
from gramserve.spec import layers
from gramserve.stages import uses_variances, wraps_or_fills

_TYPES = {
    RAMP: ("Ramp", 1),
    BENT: ("Bent", 2),
    STAIR: ("Stair", 2),
    RAMP_SQUARED: ("RampSquared", 1),
    ERROR_FUNCTION: ("ErrorFunction", 4),
    ERROR_UNIT: ("ErrorUnit", 0),
    BELL: ("Bell", 4),
    RIPPLED_BELL: ("RippledBell", 2),
    WAVE: ("Wave", 4),
    DISTANCE: ("Distance", 2),
    GROWTH: ("Growth", 3),
    NORMALISE: ("Normalise", 1),
    EXPONENTIAL: ("Exponential", 2),
    SQUARE: ("Square", 0),
}
"""By kind, the struct and its ``NUMBERS``."""

_TEMPLATES = {RAMP_POWER: "RampPower", SERIES: "Series", POWER: "Power"}
"""By kind, the templates over the degree; all numbers are given."""


def find_unsupported(network: Iterable[layers.Layer], where: str = "layers") -> str | None:
    """Return why the CUDA engine cannot run a network, or None if it can.

    Parameters
    ----------
    network : iterable of Layer
        The layers of a normalised spec.
    where : str
        Their place in the spec.

    Returns
    -------
    str or None
        Names the layer.
    """
    return find_reason(network, _reason_against, where)


def _reason_against(layer: layers.Layer) -> str | None:
    match layer:
        case layers.Center():
            return "couples all offset planes"
        case layers.Numeric():
            return "needs a series of its own at every position, which only the host computes"
        case layers.ConvLocal() if wraps_or_fills(layer):
            return "wraps around or fills its input with zeros"
    return find_extreme(layer)


Functor = tuple[str, tuple[float, ...]]
"""C++ type and numbers."""


def functor_of(layer: layers.Layer) -> Functor:
    """Return the C++ type that computes an activation's dual, and its numbers.

    Parameters
    ----------
    layer : Layer
        An activation, or a normalisation, for which :func:`find_unsupported` is None. Whether it
        projects is not part of it: ``gramserve::Project`` does that afterwards.

    Returns
    -------
    type : str
        One of ``sources/duals.cuh``, such as ``gramserve::Ramp`` or ``gramserve::Power<3>``.
    numbers : tuple of float
        What ``take`` reads, as many as the type's ``NUMBERS``.

    Examples
    --------
    >>> functor_of(layers.Relu())
    ('gramserve::Ramp', (0.5,))
    """
    kind, numbers, degree = describe_dual(layer)
    if kind in _TEMPLATES:
        return f"gramserve::{_TEMPLATES[kind]}<{degree}>", numbers
    name, count = _TYPES[kind]
    return f"gramserve::{name}", (*numbers, *[0.0] * (count - len(numbers)))


def count_numbers(network: Iterable[layers.Layer]) -> int:
    """Return how many numbers of layers a module has to hold.

    Parameters
    ----------
    network : iterable of Layer
        All layers, those of branches included, for which :func:`find_unsupported` is None.

    Returns
    -------
    int
        Two for every layer with weights, those of its functor for every activation.
    """
    count = 0
    for layer in network:
        match layer:
            case layers.Conv() | layers.ConvLocal() | layers.Dense() | layers.Linear():
                count += 2
            case layers.Residual() | layers.Concat():
                count += 1
            case _ if uses_variances(layer) or isinstance(layer, layers.Square):
                count += len(functor_of(layer)[1])
    return count
