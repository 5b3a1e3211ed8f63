"""Functions of one real variable by name, with their derivatives: what ``numeric`` layers apply.

Every pair is elementwise, keeps the dtype of its argument and is written so that nothing
overflows or loses its leading digits for ``|z| <= 1e18``, in float32 as in float64: exponentials
are only taken of numbers that are not positive. At a kink the derivative is the mean of the two
one-sided ones, which is what duals assume of a zero patch (an angle of ``pi / 2``).

References
----------
Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016 (gelu). Clevert et al., "Fast and
Accurate Deep Network Learning by Exponential Linear Units", ICLR 2016 (elu). Klambauer et al.,
"Self-Normalizing Neural Networks", NeurIPS 2017 (selu). Barron, "Continuously Differentiable
Exponential Linear Units", 2017 (celu). Ramachandran et al., "Searching for Activation
Functions", 2017 (swish). Misra, "Mish", BMVC 2020. Howard et al., "Searching for MobileNetV3",
ICCV 2019 (hard_swish).
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple

from gramserve.arrays import Array, namespace_of, special_functions_of
from gramserve.errors import SpecError
from gramserve.spec.names import nearest

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


class Function(NamedTuple):
    """A function and its derivative, both elementwise on NumPy and CuPy arrays."""

    phi: Callable[[Array], Array]
    dphi: Callable[[Array], Array]


def _decay(z: Array) -> Array:
    """Return ``exp(-|z|)``, which never overflows."""
    xp = namespace_of(z)
    return xp.exp(-xp.abs(z))


def _step(z: Array) -> Array:
    """Return 0, 1/2 and 1 for negative, zero and positive numbers."""
    return 0.5 * (namespace_of(z).sign(z) + 1)


def _between(z: Array, low: float, high: float) -> Array:
    """Return 1 between two kinks, 1/2 at them and 0 outside."""
    xp = namespace_of(z)
    return 0.5 * (xp.sign(z - low) - xp.sign(z - high))


def _identity(z: Array) -> Array:
    return z.copy()


def _one(z: Array) -> Array:
    return namespace_of(z).ones_like(z)


def _relu(z: Array) -> Array:
    return namespace_of(z).maximum(z, 0)


def _relu6(z: Array) -> Array:
    return namespace_of(z).clip(z, 0, 6)


def _tanh(z: Array) -> Array:
    return namespace_of(z).tanh(z)


def _dtanh(z: Array) -> Array:
    decay = _decay(2 * z)
    return 4 * decay / (1 + decay) ** 2


def _sigmoid(z: Array) -> Array:
    xp, decay = namespace_of(z), _decay(z)
    return xp.where(z >= 0, 1, decay) / (1 + decay)


def _dsigmoid(z: Array) -> Array:
    decay = _decay(z)
    return decay / (1 + decay) ** 2


def _softplus(z: Array) -> Array:
    return _relu(z) + namespace_of(z).log1p(_decay(z))


def _log_sigmoid(z: Array) -> Array:
    return -_softplus(-z)


def _dlog_sigmoid(z: Array) -> Array:
    return _sigmoid(-z)


def _silu(z: Array) -> Array:
    return z * _sigmoid(z)


def _dsilu(z: Array) -> Array:
    # 1 - sigmoid(z) is sigmoid(-z): no cancellation, so z times it stays small.
    return _sigmoid(z) * (1 + z * _sigmoid(-z))


def _gelu(z: Array) -> Array:
    return z * special_functions_of(z).ndtr(z)


def _dgelu(z: Array) -> Array:
    density = namespace_of(z).exp(-0.5 * z * z) / sqrt(2 * pi)
    return special_functions_of(z).ndtr(z) + z * density


def _elu(z: Array) -> Array:
    xp = namespace_of(z)
    return xp.where(z > 0, z, xp.expm1(xp.minimum(z, 0)))


def _delu(z: Array) -> Array:
    xp = namespace_of(z)
    return xp.exp(xp.minimum(z, 0))


def _selu(z: Array) -> Array:
    xp = namespace_of(z)
    return _SELU_SCALE * xp.where(z > 0, z, _SELU_ALPHA * xp.expm1(xp.minimum(z, 0)))


def _dselu(z: Array) -> Array:
    step = _step(z)
    return _SELU_SCALE * (step + (1 - step) * _SELU_ALPHA * _delu(z))


def _softsign(z: Array) -> Array:
    return z / (1 + namespace_of(z).abs(z))


def _dsoftsign(z: Array) -> Array:
    return (1 + namespace_of(z).abs(z)) ** -2


def _arctan(z: Array) -> Array:
    return namespace_of(z).arctan(z)


def _darctan(z: Array) -> Array:
    return 1 / (1 + z * z)


def _erf(z: Array) -> Array:
    return special_functions_of(z).erf(z)


def _derf(z: Array) -> Array:
    return (2 / sqrt(pi)) * namespace_of(z).exp(-z * z)


def _sin(z: Array) -> Array:
    return namespace_of(z).sin(z)


def _cos(z: Array) -> Array:
    return namespace_of(z).cos(z)


def _dcos(z: Array) -> Array:
    return -_sin(z)


def _hard_tanh(z: Array) -> Array:
    return namespace_of(z).clip(z, -1, 1)


def _dhard_tanh(z: Array) -> Array:
    return _between(z, -1, 1)


def _drelu6(z: Array) -> Array:
    return _between(z, 0, 6)


def _hard_sigmoid(z: Array) -> Array:
    return namespace_of(z).clip(z, -3, 3) / 6 + 0.5


def _dhard_sigmoid(z: Array) -> Array:
    return _between(z, -3, 3) / 6


def _hard_swish(z: Array) -> Array:
    return z * _hard_sigmoid(z)


def _dhard_swish(z: Array) -> Array:
    inside = _between(z, -3, 3)
    # The product is masked first: z may be large where the slope of the sigmoid is zero.
    return _hard_sigmoid(z) + inside * namespace_of(z).clip(z, -3, 3) / 6


def _mish_gate(z: Array) -> tuple[Array, Array]:
    """Return ``t = tanh(softplus(z))`` and ``1 - t``.

    With ``e = exp(z)``, ``t = (e^2 + 2 e) / (e^2 + 2 e + 2)``; for positive ``z`` numerator and
    denominator are divided by ``e^2``.
    """
    xp, decay = namespace_of(z), _decay(z)
    positive = z >= 0
    above = xp.where(positive, 1 + 2 * decay, decay * (decay + 2))
    rest = xp.where(positive, 2 * decay * decay, 2)
    return above / (above + rest), rest / (above + rest)


def _mish(z: Array) -> Array:
    return z * _mish_gate(z)[0]


def _dmish(z: Array) -> Array:
    gate, rest = _mish_gate(z)
    return gate + z * rest * (1 + gate) * _sigmoid(z)


FUNCTIONS: dict[str, Function] = {
    "arctan": Function(_arctan, _darctan),
    "celu": Function(_elu, _delu),
    "cos": Function(_cos, _dcos),
    "elu": Function(_elu, _delu),
    "erf": Function(_erf, _derf),
    "gelu": Function(_gelu, _dgelu),
    "hard_sigmoid": Function(_hard_sigmoid, _dhard_sigmoid),
    "hard_swish": Function(_hard_swish, _dhard_swish),
    "hard_tanh": Function(_hard_tanh, _dhard_tanh),
    "identity": Function(_identity, _one),
    "log_sigmoid": Function(_log_sigmoid, _dlog_sigmoid),
    "mish": Function(_mish, _dmish),
    "relu": Function(_relu, _step),
    "relu6": Function(_relu6, _drelu6),
    "selu": Function(_selu, _dselu),
    "sigmoid": Function(_sigmoid, _dsigmoid),
    "silu": Function(_silu, _dsilu),
    "sin": Function(_sin, _cos),
    "softplus": Function(_softplus, _sigmoid),
    "softsign": Function(_softsign, _dsoftsign),
    "swish": Function(_silu, _dsilu),
    "tanh": Function(_tanh, _dtanh),
}
"""Every named function with its derivative. elu and celu have ``alpha = 1`` and so are one."""

KINKS: dict[str, tuple[float, ...]] = {
    "hard_sigmoid": (-3.0, 3.0),
    "hard_swish": (-3.0, 3.0),
    "hard_tanh": (-1.0, 1.0),
    "relu": (0.0,),
    "relu6": (0.0, 6.0),
    "selu": (0.0,),
}
"""Where the derivative of a function jumps; functions that are not here have no such points."""


def function_named(name: str) -> Function:
    """Return a function and its derivative.

    Parameters
    ----------
    name : str
        A key of :data:`FUNCTIONS`.

    Returns
    -------
    Function
        ``(phi, dphi)``.

    Raises
    ------
    SpecError
        When there is no such function; proposes the nearest name, or lists all.

    Examples
    --------
    >>> import numpy as np
    >>> phi, dphi = function_named("relu")
    >>> phi(np.array([-2.0, 3.0])).tolist(), dphi(np.array([-2.0, 0.0, 3.0])).tolist()
    ([0.0, 3.0], [0.0, 0.5, 1.0])
    """
    if name not in FUNCTIONS:
        msg = f"unknown function {name!r}{nearest(name, FUNCTIONS)}"
        raise SpecError(msg, errors=[{"loc": "function", "message": msg}])
    return FUNCTIONS[name]
