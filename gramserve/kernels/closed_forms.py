"""Duals of activations as the fast engines write them: a kind, a few numbers and a degree."""

from collections.abc import Callable, Iterable

from gramserve.kernels.duals.angular import arc_cosine_polynomials
from gramserve.kernels.duals.bells import erf_numbers
from gramserve.kernels.duals.polynomials import covariance_series
from gramserve.kernels.duals.waves import wave_shares
from gramserve.kernels.variances import branches_of
from gramserve.spec import layers

(
    RAMP, BENT, STAIR, RAMP_SQUARED, RAMP_POWER, ERROR_FUNCTION, ERROR_UNIT, BELL, RIPPLED_BELL,
    WAVE, DISTANCE, GROWTH, SERIES, NORMALISE, EXPONENTIAL, POWER, SQUARE, NUMERIC,
) = range(8, 26)  # fmt: skip
"""Kinds of duals. They follow those of the CPU engine's other operations."""

LARGEST_EXPONENT = 80.0
"""Of which the fast engines take the exponential."""

HIGHEST_ORDER = 20
"""Of an arc-cosine kernel, whose factors float32 holds."""

_LARGEST_WEIGHT = 1e30
"""Above that, a weight of a polynomial's dual is left to the reference engine."""


def find_reason(
    network: Iterable[layers.Layer],
    reason_against: Callable[[layers.Layer], str | None],
    where: str,
) -> str | None:
    """Return why an engine cannot run a network, or None if it can.

    Parameters
    ----------
    network : iterable of Layer
        The layers of a normalised spec.
    reason_against : callable
        Why the engine cannot run a single layer, in words that follow its name; or None.
    where : str
        The network's place in the spec.

    Returns
    -------
    str or None
        Names the first layer with a reason, also in branches: ``layers[2] (center) couples ...``.
    """
    for index, layer in enumerate(network):
        here = f"{where}[{index}]"
        reason = reason_against(layer)
        if reason:
            return f"{here} ({layer.type}) {reason}"
        for number, branch in enumerate(branches_of(layer)):
            found = find_reason(branch, reason_against, f"{here}.branches[{number}]")
            if found:
                return found
    return None


def find_extreme(layer: layers.Layer) -> str | None:
    """Return why the dual of a layer leaves the range of the fast engines, or None.

    Parameters
    ----------
    layer : Layer
        Any layer; those without a dual have no reason.

    Returns
    -------
    str or None
        In words that follow the name of the layer, such as "takes exp of more than 80".
    """
    match layer:
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
    return None


Dual = tuple[int, tuple[float, ...], int]
"""Kind, numbers and degree."""


def describe_dual(layer: layers.Layer) -> Dual:  # noqa: PLR0911, PLR0912
    """Return the kind of a dual and its numbers.

    Parameters
    ----------
    layer : Layer
        One for which the engine gives no reason against.

    Returns
    -------
    kind : int
        One of those above.
    numbers : tuple of float
        The parameters of its function in :mod:`gramserve.kernels.cpu.duals`: up to four, or four
        and what the function says stands behind them.
    degree : int
        The last parameter of that function.
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
