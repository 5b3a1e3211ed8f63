"""Which dual belongs to which layer, and which layers have derivatives at all."""

from collections.abc import Callable, Sequence
from math import pi
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import SpecError
from gramserve.kernels.derivatives.angle import (
    AngularDual,
    Pairs,
    arc_cosine,
    exponential,
    monomial,
    piecewise_linear,
)
from gramserve.kernels.derivatives.jet import Jet
from gramserve.kernels.derivatives.smooth import (
    ErfDual,
    ExponentialDual,
    GaussianDual,
    SquareDual,
    wave,
)
from gramserve.kernels.inputs import is_plain
from gramserve.spec import KernelSpec, layers

Array = NDArray[np.float64]


class SmoothDual(Protocol):
    """A dual that has all its derivatives everywhere."""

    def expand(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the dual and its derivatives in ``S``, ``q`` and ``q'``."""
        ...

    def slope(self, pairs: Pairs, names: tuple[str, ...]) -> Jet:
        """Return the derivative dual likewise."""
        ...

    def variance(self, q: Array) -> tuple[Array, Array, Array]:
        """Return the dual of a variance, and its first and second derivative."""
        ...


Dual = AngularDual | SmoothDual


def _rectifier(layer: layers.Relu | layers.ArcCosine) -> AngularDual:
    order = layer.order if isinstance(layer, layers.ArcCosine) else 1
    curve = arc_cosine(order, 1 / pi if layer.normalized else 1 / (2 * pi))
    return AngularDual(order - layer.project, curve, order + 0.5, layer.project)


def _bent(layer: layers.LeakyRelu | layers.AbRelu | layers.Abs) -> AngularDual:
    a, b = _slopes(layer)
    return AngularDual(1, piecewise_linear((a - b) ** 2 / (2 * pi), (a * a + b * b) / 2), 1.5)


def _slopes(layer: layers.LeakyRelu | layers.AbRelu | layers.Abs) -> tuple[float, float]:
    match layer:
        case layers.LeakyRelu():
            return layer.alpha, 1.0
        case layers.AbRelu():
            return layer.a, layer.b
        case _:
            return -1.0, 1.0


_DUALS: dict[type[layers.LayerModel], Callable[[Any], Dual]] = {
    layers.Relu: _rectifier,
    layers.ArcCosine: _rectifier,
    layers.LeakyRelu: _bent,
    layers.AbRelu: _bent,
    layers.Abs: _bent,
    layers.ExpNormalized: lambda layer: AngularDual(
        1 - layer.project, exponential(layer.gamma, layer.shift), projected=layer.project
    ),
    layers.Power: lambda layer: AngularDual(
        1 - layer.project, monomial(layer.degree), projected=layer.project
    ),
    layers.Erf: ErfDual,
    layers.Gaussian: GaussianDual,
    layers.Square: lambda _: SquareDual(),
    layers.Sin: wave,
    layers.Cos: wave,
    layers.Rbf: lambda layer: ExponentialDual(((1.0, 2 * layer.gamma, layer.gamma),)),
    layers.Exp: lambda layer: ExponentialDual(((layer.a**2, layer.b**2, -(layer.b**2) / 2),)),
}

_HIGHEST_ORDER = 2


def dual_of(layer: layers.Layer) -> Dual:
    """Return the dual of an activation.

    Parameters
    ----------
    layer : Layer
        One that :func:`check_differentiable` lets pass, and that is no :func:`linear_factor`.

    Returns
    -------
    Dual
        With its derivatives.
    """
    return _DUALS[type(layer)](layer)


def linear_factor(layer: layers.Layer) -> float | None:
    """Return the factor of a layer that only scales ``S``, else None.

    Some activations do so for some parameters. They have derivatives everywhere, which
    their general formulas would not give at angles 0 and pi or for vectors of zeros.

    Parameters
    ----------
    layer : Layer
        Any layer.

    Returns
    -------
    float or None
        ``S' / S``.
    """
    match layer:
        case layers.Identity():
            return 1.0
        case layers.Linear():
            return layer.factor
        case layers.Power(degree=1, project=False):
            return 1.0
        case layers.LeakyRelu() | layers.AbRelu():
            a, b = _slopes(layer)
            return a * a if a == b else None
        case _:
            return None


def check_differentiable(spec: KernelSpec) -> None:
    """Refuse a network that derivatives are not implemented for.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.

    Raises
    ------
    SpecError
        With every layer that is at fault.
    """
    _require_one_plain_network(spec)
    faults = list(_faults(spec.layers, "layers"))
    if faults:
        known = sorted(model.model_fields["type"].default for model in _DUALS)
        lines = "; ".join(fault["message"] for fault in faults)
        msg = (
            f"{lines}. Derivatives are there for networks on vectors: dense, residual, concat, "
            f"identity, linear, {', '.join(known)}"
        )
        raise SpecError(msg, errors=faults)


def _require_one_plain_network(spec: KernelSpec) -> None:
    """Refuse what changes a kernel besides its layers."""
    asked = {
        "augment": spec.augment != "none",
        "readouts": bool(spec.readouts),
        "finite": spec.finite is not None,
        "input": not is_plain(spec),
    }
    faults = [
        {"loc": name, "message": f"`{name}` has no derivatives here"}
        for name, given in asked.items()
        if given
    ]
    if faults:
        msg = (
            f"{'; '.join(fault['message'] for fault in faults)}: ask for the kernel of one network "
            "on its items as they are (weights and a constant on the input are a dense layer)"
        )
        raise SpecError(msg, errors=faults)


def _faults(network: Sequence[layers.Layer], where: str) -> list[dict[str, str]]:
    found = []
    for index, layer in enumerate(network):
        here = f"{where}[{index}]"
        reason = None
        if isinstance(layer, layers.Residual | layers.Concat):
            for number, branch in enumerate(layer.branches):
                found += _faults(branch, f"{here}.branches[{number}]")
        elif isinstance(layer, layers.ArcCosine) and layer.order > _HIGHEST_ORDER:
            reason = f"of order {layer.order} has no derivatives here, only orders 0 to 2"
        elif not isinstance(layer, (layers.Dense, layers.Identity, layers.Linear, *_DUALS)):
            reason = "has no derivatives here"
        if reason:
            found.append({"loc": here, "message": f"{here} ({layer.type}) {reason}"})
    return found
