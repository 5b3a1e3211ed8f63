"""Which layers have a form in vectors."""

from collections.abc import Iterable

from gramserve.kernels.closed_forms import find_extreme, find_reason
from gramserve.spec import layers
from gramserve.stages import wraps_or_fills


def find_unsupported(network: Iterable[layers.Layer], where: str = "layers") -> str | None:
    """Return why a network has no program, or None.

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
        case layers.ConvLocal() if wraps_or_fills(layer):
            return "wraps around or fills its input with zeros"
    return find_extreme(layer)
