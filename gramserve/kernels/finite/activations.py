"""Activations of finite networks: the function and the derivative of every activation layer."""

from collections.abc import Callable
from math import pi, sqrt

from gramserve.arrays import Array, namespace_of, special_functions_of
from gramserve.kernels.duals.bells import SIGMOID_WIDTH
from gramserve.kernels.functions import FUNCTIONS, Function, function_named
from gramserve.spec import layers
from gramserve.spec.layers import LayerModel

"""Width of the error function closest to the logistic function."""


def _scaled(function: Function, factor: float) -> Function:
    """Return ``factor phi``."""
    if factor == 1:
        return function
    return Function(lambda z: factor * function.phi(z), lambda z: factor * function.dphi(z))


def _affine(function: Function, a: float, b: float, c: float) -> Function:
    """Return ``a phi(b z) + c``."""
    return Function(lambda z: a * function.phi(b * z) + c, lambda z: a * b * function.dphi(b * z))


def _phased(function: Function, a: float, b: float, c: float) -> Function:
    """Return ``a phi(b z + c)``."""
    return Function(
        lambda z: a * function.phi(b * z + c), lambda z: a * b * function.dphi(b * z + c)
    )


def _piecewise_linear(a: float, b: float) -> Function:
    """Return ``a min(z, 0) + b max(z, 0)``, with the mean of both slopes at 0."""

    def phi(z: Array) -> Array:
        xp = namespace_of(z)
        return a * xp.minimum(z, 0) + b * xp.maximum(z, 0)

    def dphi(z: Array) -> Array:
        return 0.5 * (a + b) + 0.5 * (b - a) * namespace_of(z).sign(z)

    return Function(phi, dphi)


def _zeros(z: Array) -> Array:
    return namespace_of(z).zeros_like(z)


def _unit_step(z: Array) -> Array:
    return FUNCTIONS["relu"].dphi(z)


_STEP = Function(_unit_step, _zeros)
_SIGN = Function(lambda z: namespace_of(z).sign(z), _zeros)


def _ramp_power(order: int) -> Function:
    """Return ``max(z, 0)^order``; order 0 is the step function."""
    if order == 0:
        return _STEP
    if order == 1:
        return FUNCTIONS["relu"]
    return Function(
        lambda z: namespace_of(z).maximum(z, 0) ** order,
        lambda z: order * namespace_of(z).maximum(z, 0) ** (order - 1),
    )


def _exp(a: float, b: float) -> Function:
    return Function(
        lambda z: a * namespace_of(z).exp(b * z), lambda z: a * b * namespace_of(z).exp(b * z)
    )


def _gaussian(a: float, b: float) -> Function:
    return Function(
        lambda z: a * namespace_of(z).exp(b * z * z),
        lambda z: 2 * a * b * z * namespace_of(z).exp(b * z * z),
    )


def _gabor_slope(z: Array) -> Array:
    xp = namespace_of(z)
    return xp.exp(-z * z) * (xp.cos(z) - 2 * z * xp.sin(z))


_GABOR = Function(
    lambda z: namespace_of(z).exp(-z * z) * namespace_of(z).sin(z),
    _gabor_slope,
)


def _polynomial(coefficients: tuple[float, ...]) -> Function:
    """Return ``sum_k c_k z^k`` by Horner's rule."""
    slopes = tuple(k * c for k, c in enumerate(coefficients))[1:] or (0.0,)

    def evaluated(numbers: tuple[float, ...]) -> Callable[[Array], Array]:
        def evaluate(z: Array) -> Array:
            value = namespace_of(z).full_like(z, numbers[-1])
            for number in reversed(numbers[:-1]):
                value = value * z + number
            return value

        return evaluate

    return Function(evaluated(coefficients), evaluated(slopes))


def _hermite(degree: int) -> Function:
    """Return the probabilists' Hermite polynomial over ``sqrt(degree!)``.

    The recurrence of the normalised polynomials, ``h_{k+1} = (z h_k - sqrt(k) h_{k-1}) /
    sqrt(k + 1)``, has no factorials that overflow; ``h_k' = sqrt(k) h_{k-1}``.
    """

    def evaluate(z: Array, order: int) -> Array:
        xp = namespace_of(z)
        before, value = xp.zeros_like(z), xp.ones_like(z)
        for k in range(order):
            before, value = value, (z * value - sqrt(k) * before) / sqrt(k + 1)
        return value

    if degree == 0:
        return Function(lambda z: evaluate(z, 0), _zeros)
    return Function(lambda z: evaluate(z, degree), lambda z: sqrt(degree) * evaluate(z, degree - 1))


def _sigmoid_like() -> Function:
    half = Function(
        lambda z: special_functions_of(z).erf(z / SIGMOID_WIDTH),
        lambda z: FUNCTIONS["erf"].dphi(z / SIGMOID_WIDTH) / SIGMOID_WIDTH,
    )
    return _affine(half, 0.5, 1.0, 0.5)


_BUILDERS: dict[type[LayerModel], Callable[..., Function]] = {
    layers.Relu: lambda layer: _scaled(FUNCTIONS["relu"], sqrt(2) if layer.normalized else 1),
    layers.LeakyRelu: lambda layer: _piecewise_linear(layer.alpha, 1.0),
    layers.AbRelu: lambda layer: _piecewise_linear(layer.a, layer.b),
    layers.Abs: lambda _: _piecewise_linear(-1.0, 1.0),
    layers.ArcCosine: lambda layer: _scaled(
        _ramp_power(layer.order), sqrt(2) if layer.normalized else 1
    ),
    layers.Erf: lambda layer: _affine(FUNCTIONS["erf"], layer.a, layer.b, layer.c),
    layers.SigmoidLike: lambda _: _sigmoid_like(),
    layers.Gelu: lambda _: FUNCTIONS["gelu"],
    layers.Sign: lambda _: _SIGN,
    layers.Step: lambda _: _STEP,
    layers.Sin: lambda layer: _phased(FUNCTIONS["sin"], layer.a, layer.b, layer.c),
    layers.Cos: lambda layer: _phased(FUNCTIONS["cos"], layer.a, layer.b, layer.c),
    layers.Rbf: lambda layer: _phased(FUNCTIONS["sin"], sqrt(2), sqrt(2 * layer.gamma), pi / 4),
    layers.Exp: lambda layer: _exp(layer.a, layer.b),
    layers.Gaussian: lambda layer: _gaussian(layer.a, layer.b),
    layers.Gabor: lambda _: _GABOR,
    layers.Monomial: lambda layer: _polynomial((*(0.0,) * layer.degree, 1.0)),
    layers.Polynomial: lambda layer: _polynomial(layer.coefficients),
    layers.Hermite: lambda layer: _hermite(layer.degree),
    layers.Numeric: lambda layer: function_named(layer.function),
}


def activation_of(layer: LayerModel) -> Function:
    """Return what an activation layer applies to every unit, and its derivative.

    Where the layer's kernel is normalised, the function carries the root of that factor:
    ``relu`` with ``normalized`` is ``sqrt(2) max(z, 0)``.

    Parameters
    ----------
    layer : LayerModel
        A pointwise activation (:data:`gramserve.spec.finite.POINTWISE`).

    Returns
    -------
    Function
        ``(phi, dphi)``.

    Raises
    ------
    SpecError
        When a ``numeric`` layer names a function that is not known.
    """
    return _BUILDERS[type(layer)](layer)
