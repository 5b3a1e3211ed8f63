"""The layers of a kernel spec, one frozen model each.

Formulas are in ``docs/kernels.md``; the engines in :mod:`gramserve.kernels` compute them.
Every model is plain data: ``Conv(size=3)`` and ``{"type": "conv", "size": 3}`` mean the same.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gramserve.spec.functions import known_function
from gramserve.spec.numbers import (
    ConvPadding,
    Count,
    NonNegative,
    OptionalPerAxis,
    Order,
    PerAxis,
    PoolPadding,
    Positive,
    Real,
    non_empty,
)


class LayerModel(BaseModel):
    """What all layers have in common: they are frozen and know no other fields than theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conv(LayerModel):
    """Convolution: box filter over both positions at once, ``w^2 n sum_u S[p+u, p'+u] + b^2``."""

    type: Literal["conv"] = "conv"
    size: PerAxis
    """Filter size in positions, per axis."""
    strides: PerAxis = 1
    """Step of the output in (filled) input positions, per axis."""
    padding: ConvPadding = "same"
    """"same", "valid", "circular", or (low, high) pairs per axis."""
    dilation: PerAxis = 1
    """Distance between filter taps in input positions, per axis."""
    fill: PerAxis = 1
    """Distance of input positions after filling with zeros (transposed convolution)."""
    w_std: NonNegative = 1.0
    """Standard deviation of the weights."""
    b_std: NonNegative = 0.0
    """Standard deviation of the biases."""
    average: bool = True
    """Mean over the patch (n = 1 / taps) or, if false, sum (n = 1)."""
    trainable: bool = True
    """Whether the layer's own weights contribute to the NTK."""


class ConvLocal(LayerModel):
    """Locally connected layer: a convolution whose weights differ from position to position."""

    type: Literal["conv_local"] = "conv_local"
    size: PerAxis
    strides: PerAxis = 1
    padding: ConvPadding = "same"
    dilation: PerAxis = 1
    fill: PerAxis = 1
    w_std: NonNegative = 1.0
    b_std: NonNegative = 0.0
    average: bool = True
    trainable: bool = True


class Dense(LayerModel):
    """Fully connected layer on a state without positions: ``w^2 S + b^2``."""

    type: Literal["dense"] = "dense"
    w_std: NonNegative = 1.0
    b_std: NonNegative = 0.0
    trainable: bool = True


class Relu(LayerModel):
    """Rectifier; ``normalized`` gives ``k(1) = 1`` instead of the expectation's 1/2."""

    type: Literal["relu"] = "relu"
    normalized: bool = False
    project: bool = False
    """Divide ``S`` and ``T`` by ``sqrt(q q')`` afterwards."""


class LeakyRelu(LayerModel):
    """``max(z, 0) + alpha min(z, 0)``."""

    type: Literal["leaky_relu"] = "leaky_relu"
    alpha: Real = 0.01


class AbRelu(LayerModel):
    """``a min(z, 0) + b max(z, 0)``."""

    type: Literal["abrelu"] = "abrelu"
    a: Real
    b: Real


class Abs(LayerModel):
    """``|z|``."""

    type: Literal["abs"] = "abs"


class ArcCosine(LayerModel):
    """``max(z, 0)^order`` (order 0: the step function); Cho and Saul's kernel if normalized."""

    type: Literal["arc_cosine"] = "arc_cosine"
    order: Order
    normalized: bool = False
    project: bool = False


class Erf(LayerModel):
    """``a erf(b z) + c``."""

    type: Literal["erf"] = "erf"
    a: Real = 1.0
    b: Real = 1.0
    c: Real = 0.0


class SigmoidLike(LayerModel):
    """``(erf(z / 2.4020563531719796) + 1) / 2``, close to the logistic function."""

    type: Literal["sigmoid_like"] = "sigmoid_like"


class Gelu(LayerModel):
    """``z Phi(z)``."""

    type: Literal["gelu"] = "gelu"


class Sign(LayerModel):
    """``sign(z)``."""

    type: Literal["sign"] = "sign"


class Step(LayerModel):
    """``1`` for positive ``z``, else ``0``."""

    type: Literal["step"] = "step"


class Sin(LayerModel):
    """``a sin(b z + c)``."""

    type: Literal["sin"] = "sin"
    a: Real = 1.0
    b: Real = 1.0
    c: Real = 0.0


class Cos(LayerModel):
    """``a cos(b z + c)``."""

    type: Literal["cos"] = "cos"
    a: Real = 1.0
    b: Real = 1.0
    c: Real = 0.0


class Rbf(LayerModel):
    """``sqrt(2) sin(sqrt(2 gamma) z + pi/4)``, whose dual is the Gaussian kernel."""

    type: Literal["rbf"] = "rbf"
    gamma: Positive = 1.0


class Exp(LayerModel):
    """``a exp(b z)``."""

    type: Literal["exp"] = "exp"
    a: Real = 1.0
    b: Real = 1.0


class Gaussian(LayerModel):
    """``a exp(b z^2)``."""

    type: Literal["gaussian"] = "gaussian"
    a: Real = 1.0
    b: Real = -1.0


class Gabor(LayerModel):
    """``exp(-z^2) sin(z)``."""

    type: Literal["gabor"] = "gabor"


class Monomial(LayerModel):
    """``z^degree``."""

    type: Literal["monomial"] = "monomial"
    degree: Order


class Polynomial(LayerModel):
    """``sum_k coefficients[k] z^k``."""

    type: Literal["polynomial"] = "polynomial"
    coefficients: Annotated[tuple[Real, ...], BeforeValidator(non_empty), Field(max_length=65)]


class Hermite(LayerModel):
    """The normalised probabilists' Hermite polynomial of this degree."""

    type: Literal["hermite"] = "hermite"
    degree: Order


class Identity(LayerModel):
    """``z``."""

    type: Literal["identity"] = "identity"


class ExpNormalized(LayerModel):
    """``sqrt(q q') exp(gamma (c + shift))`` with ``c`` the cosine (CKN: gamma = 1 / sigma^2)."""

    type: Literal["exp_normalized"] = "exp_normalized"
    gamma: Real = 1.0
    shift: Real = -1.0
    project: bool = False


class Power(LayerModel):
    """``sqrt(q q') c^degree`` (CKN poly2, poly3, poly4)."""

    type: Literal["power"] = "power"
    degree: Order
    project: bool = False


class Square(LayerModel):
    """``S^2`` (CKN square)."""

    type: Literal["square"] = "square"


class Linear(LayerModel):
    """``factor S`` (CKN linear)."""

    type: Literal["linear"] = "linear"
    factor: NonNegative = 1.0


class Numeric(LayerModel):
    """Any named function, its dual by Gauss-Hermite quadrature."""

    type: Literal["numeric"] = "numeric"
    function: Annotated[str, BeforeValidator(known_function)]
    """One of :data:`gramserve.spec.functions.FUNCTIONS`."""
    degree: Annotated[Count, Field(le=1000)] = 50
    """Nodes of the quadrature; a warning says when it has not converged."""


class AvgPool(LayerModel):
    """Mean over windows of both positions."""

    type: Literal["avg_pool"] = "avg_pool"
    window: PerAxis
    strides: OptionalPerAxis = None
    """Step between windows; the window itself if not given."""
    padding: PoolPadding = "valid"
    normalize_edges: bool = False
    """Divide windows at the edge by the positions they really cover."""


class SumPool(LayerModel):
    """Sum over windows of both positions."""

    type: Literal["sum_pool"] = "sum_pool"
    window: PerAxis
    strides: OptionalPerAxis = None
    padding: PoolPadding = "valid"
    normalize_edges: bool = False


class CknPool(LayerModel):
    """Pooling of convolutional kernel networks: a separable filter, then subsampling."""

    type: Literal["ckn_pool"] = "ckn_pool"
    kind: Literal["gaussian", "average", "strided"]
    subsampling: Count
    factor: Count | None = None
    """Width of the filter in positions; the subsampling if not given."""


class GlobalAvgPool(LayerModel):
    """Mean over all pairs of positions."""

    type: Literal["global_avg_pool"] = "global_avg_pool"


class GlobalSumPool(LayerModel):
    """Sum over all pairs of positions."""

    type: Literal["global_sum_pool"] = "global_sum_pool"


class Flatten(LayerModel):
    """Mean (or sum) over equal positions ``p = p'``."""

    type: Literal["flatten"] = "flatten"
    average: bool = True


class Center(LayerModel):
    """Subtract from every channel its mean over the positions."""

    type: Literal["center"] = "center"


class LayerNorm(LayerModel):
    """Layer normalisation over the channels, or over channels and positions.

    Of infinitely many channels, a group of them has the variance of all: group normalisation is
    the second.
    """

    type: Literal["layer_norm"] = "layer_norm"
    axes: Literal["channels", "all"]
    eps: NonNegative = 1e-12
    """Added to the variance."""


class Residual(LayerModel):
    """Branches in parallel, summed; an empty branch is the identity."""

    type: Literal["residual"] = "residual"
    branches: Annotated[tuple[tuple["Layer", ...], ...], BeforeValidator(non_empty)]


class Concat(LayerModel):
    """Branches in parallel, their channels concatenated: the mean of their kernels."""

    type: Literal["concat"] = "concat"
    branches: Annotated[tuple[tuple["Layer", ...], ...], BeforeValidator(non_empty)]


LAYER_TYPES: dict[str, type[LayerModel]] = {
    model.model_fields["type"].default: model
    for model in (
        Conv, ConvLocal, Dense, Relu, LeakyRelu, AbRelu, Abs, ArcCosine, Erf, SigmoidLike, Gelu,
        Sign, Step, Sin, Cos, Rbf, Exp, Gaussian, Gabor, Monomial, Polynomial, Hermite, Identity,
        ExpNormalized, Power, Square, Linear, Numeric, AvgPool, SumPool, CknPool, GlobalAvgPool,
        GlobalSumPool, Flatten, Center, LayerNorm, Residual, Concat,
    )
}  # fmt: skip
"""Every layer model by its ``type``."""

Layer = Annotated[
    Conv | ConvLocal | Dense | Relu | LeakyRelu | AbRelu | Abs | ArcCosine | Erf | SigmoidLike
    | Gelu | Sign | Step | Sin | Cos | Rbf | Exp | Gaussian | Gabor | Monomial | Polynomial
    | Hermite | Identity | ExpNormalized | Power | Square | Linear | Numeric | AvgPool | SumPool
    | CknPool | GlobalAvgPool | GlobalSumPool | Flatten | Center | LayerNorm | Residual | Concat,
    Field(discriminator="type"),
]  # fmt: skip
"""Any layer, told apart by its ``type``."""

Residual.model_rebuild()
Concat.model_rebuild()
