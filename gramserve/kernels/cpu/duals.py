"""Arc-cosine kernels of order 0 and 1 without an inverse cosine.

With ``t = |c|``,

``k1(c) = max(c, 0) + (1 - t)^(3/2) Q(t)``, and ``k0(c) = 1 - r`` for ``c >= 0``, else ``r``, with
``r = sqrt(1 - t) R(t)``,

where ``Q`` and ``R`` are smooth on [0, 1]. They are replaced by the polynomials in ``z = 2 t - 1``
that interpolate them at Chebyshev nodes: of degree 6 and 8 with errors of 6e-9 and 1e-9 for
float32, of degree 16 and 17 with errors below 1e-15 for float64.
"""

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import overload

from gramserve.kernels.cpu.lanes import fill, multiply_add

_Q_SINGLE = (
    0.30829228044264445, -0.008966130154697756, 0.000890718894638815, -0.00013084470790127733,
    2.34958196852924e-05, -5.244292094891801e-06, 1.1661649061979816e-06,
)  # fmt: skip
_R_SINGLE = (
    0.4714045207910317, -0.024196664892044622, 0.0035107370368544816, -0.0006842032428773173,
    0.00015347477843660222, -3.697699993363083e-05, 9.494992020295404e-06,
    -3.0747999841861335e-06, 8.511454868708706e-07,
)  # fmt: skip
_Q_DOUBLE = (
    0.30829228044264445, -0.008966100127064856, 0.0008907115156900686, -0.00013108305401426677,
    2.3554361915848034e-05, -4.778718947566184e-06, 1.0519811059194532e-06,
    -2.4557450593746455e-07, 5.991619762168381e-08, -1.512847834222138e-08,
    3.927456958978877e-09, -1.047970852986887e-09, 2.8370197072329464e-10,
    -7.26229676873235e-11, 2.018344964426157e-11, -8.772855479028666e-12, 2.516748331763922e-12,
)  # fmt: skip
_R_DOUBLE = (
    0.47140452079103173, -0.024196673349042873, 0.0035107394669240603, -0.0006840911906741375,
    0.00015344258607794784, -3.7373560893145415e-05, 9.608872696899973e-06,
    -2.5667037667385478e-06, 7.053910409347595e-07, -1.9816136621258433e-07,
    5.6621601372562854e-08, -1.641861921615917e-08, 4.8660638964077375e-09,
    -1.4427349958364108e-09, 3.8346055376834573e-10, -1.1514610998963578e-10,
    6.037907764934128e-11, -1.8480037280753025e-11,
)  # fmt: skip


def _horner(coefficients: tuple[float, ...]) -> Any:
    """Compile a polynomial, one multiply-add per coefficient and no loop."""
    step: Any = njit(lambda array, z: fill(array, coefficients[-1]))
    for number in coefficients[-2::-1]:
        step = _next(step, number)
    return step


def _next(inner: Any, number: float) -> Any:
    return njit(lambda array, z: multiply_add(inner(array, z), z, fill(array, number)))


def q_of(array: Any, z: Any) -> Any:
    """Return ``Q`` in the dtype of an array; compiled code only."""
    raise NotImplementedError


def r_of(array: Any, z: Any) -> Any:
    """Return ``R`` in the dtype of an array; compiled code only."""
    raise NotImplementedError


def _teach(function: Callable[..., Any], single: Any, double: Any) -> None:
    def choose(array, z):  # type: ignore[no-untyped-def] # Numba compares signatures
        chosen = single if array.dtype == types.float32 else double
        return lambda array, z: chosen(array, z)

    overload(function)(choose)


_teach(q_of, _horner(_Q_SINGLE), _horner(_Q_DOUBLE))
_teach(r_of, _horner(_R_SINGLE), _horner(_R_DOUBLE))
