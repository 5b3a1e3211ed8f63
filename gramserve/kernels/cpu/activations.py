"""Which layers have a form in vectors, and the numbers of their duals."""

from collections.abc import Iterable

from gramserve.kernels.cpu.tables import (
    BELL,
    BENT,
    DISTANCE,
    ERROR_FUNCTION,
    ERROR_UNIT,
    EXPONENTIAL,
    GROWTH,
    NORMALISE,
    NUMERIC,
    POWER,
    RAMP,
    RAMP_POWER,
    RAMP_SQUARED,
    RIPPLED_BELL,
    SERIES,
    SQUARE,
    STAIR,
    WAVE,
)
from gramserve.kernels.duals.angular import arc_cosine_polynomials
from gramserve.kernels.duals.bells import erf_numbers
from gramserve.kernels.duals.polynomials import covariance_series
from gramserve.kernels.duals.waves import wave_shares
from gramserve.kernels.variances import branches_of
from gramserve.spec import layers
from gramserve.stages import wraps_or_fills

LARGEST_EXPONENT = 80.0
"""Of which the exponential of vectors is taken."""

HIGHEST_ORDER = 20
"""Of an arc-cosine kernel, whose factors float32 holds."""

_LARGEST_WEIGHT = 1e30
"""Above that, a weight of a polynomial's dual is left to the reference engine."""


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
    for index, layer in enumerate(network):
        here = f"{where}[{index}]"
        reason = _find_reason(layer)
        if reason:
            return f"{here} ({layer.type}) {reason}"
        for number, branch in enumerate(branches_of(layer)):
            found = find_unsupported(branch, f"{here}.branches[{number}]")
            if found:
                return found
    return None


def _find_reason(layer: layers.Layer) -> str | None:  # noqa: PLR0911
    match layer:
        case layers.Center():
            return "couples all offset planes"
        case layers.ExpNormalized() if (
            layer.gamma * layer.shift + abs(layer.gamma) > LARGEST_EXPONENT
        ):
            return f"takes exp of more than {LARGEST_EXPONENT:g}"
        case layers.Gaussian() if layer.b > 0:
            return "grows: its dual is infinite for large variances"
        case layers.Monomial() | layers.Polynomial() | layers.Hermite():
            weights = covariance_series(layer).weights
            if max(abs(term) for terms in weights for term in terms) > _LARGEST_WEIGHT:
                return f"has weights above {_LARGEST_WEIGHT:g}"
        case layers.ArcCosine() if layer.order > HIGHEST_ORDER:
            return f"is of an order above {HIGHEST_ORDER}"
        case layers.ConvLocal() if wraps_or_fills(layer):
            return "wraps around or fills its input with zeros"
    return None


Dual = tuple[int, tuple[float, ...], int]
"""Kind, numbers and degree."""


def describe_dual(layer: layers.Layer) -> Dual:  # noqa: PLR0911, PLR0912
    """Return how an activation is written in a program.

    Parameters
    ----------
    layer : Layer
        One for which :func:`find_unsupported` is None.

    Returns
    -------
    kind : int
        Of :mod:`gramserve.kernels.cpu.tables`.
    numbers : tuple of float
        The parameters of its function in :mod:`gramserve.kernels.cpu.duals`: up to four, or four
        and what the function says stands behind them.
    degree : int
        Its last parameter.
    """
    match layer:
        case layers.Relu():
            return RAMP, (_height(layer),), 0
        case layers.ArcCosine():
            return _arc_cosine(layer)
        case layers.Step():
            return STAIR, (0.5,), 0
        case layers.Sign():
            return STAIR, (2.0, -1.0), 0
        case layers.LeakyRelu():
            return BENT, _bend(layer.alpha, 1.0), 0
        case layers.AbRelu():
            return BENT, _bend(layer.a, layer.b), 0
        case layers.Abs():
            return BENT, _bend(-1.0, 1.0), 0
        case layers.Erf() | layers.SigmoidLike():
            height, inner, shift = erf_numbers(layer)
            return ERROR_FUNCTION, (height, inner, shift, height * inner), 0
        case layers.Gelu():
            return ERROR_UNIT, (), 0
        case layers.Gaussian():
            return BELL, (layer.a**2, -2 * layer.b, 0.0, (2 * layer.a * layer.b) ** 2), 0
        case layers.Gabor():
            return RIPPLED_BELL, (0.0, 2.0), 0
        case layers.Sin() | layers.Cos():
            return WAVE, (layer.a**2 / 2, layer.b**2, *wave_shares(layer)), 0
        case layers.Rbf():
            return DISTANCE, (layer.gamma, 2 * layer.gamma), 0
        case layers.Exp():
            return GROWTH, (layer.a**2, layer.b**2, layer.b**2 / 2), 0
        case layers.Numeric():
            return NUMERIC, (), layer.degree
        case layers.Monomial() | layers.Polynomial() | layers.Hermite():
            return _series(layer)
        case layers.LayerNorm():
            return NORMALISE, (layer.eps,), 0
        case layers.ExpNormalized():
            return EXPONENTIAL, (layer.gamma, layer.gamma * layer.shift), 0
        case layers.Power():
            return POWER, (float(layer.degree),), layer.degree
    return SQUARE, (), 0


def _height(layer: layers.Relu | layers.ArcCosine) -> float:
    return 1.0 if layer.normalized else 0.5


def _bend(negative: float, positive: float) -> tuple[float, float]:
    return (negative - positive) ** 2 / 2, negative * positive


def _arc_cosine(layer: layers.ArcCosine) -> Dual:
    order, height = layer.order, _height(layer)
    if order < 3:
        return (STAIR, RAMP, RAMP_SQUARED)[order], (height,), 0
    own, below = arc_cosine_polynomials(order), arc_cosine_polynomials(order - 1)
    factors = (height * own[0], height * order**2 * below[0], 0.0, 0.0)
    return RAMP_POWER, (*factors, *own[1], *own[2], *below[1], *below[2]), order


def _series(layer: layers.Monomial | layers.Polynomial | layers.Hermite) -> Dual:
    found = covariance_series(layer)
    degree = len(found.weights) - 1
    rows = []
    for power, terms in enumerate(found.weights):
        rows += [*terms, *[0.0] * ((degree - power) // 2 + 1 - len(terms))]
    return SERIES, (found.center, 0.0, 0.0, 0.0, *rows), degree
