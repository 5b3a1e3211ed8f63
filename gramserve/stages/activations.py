"""Activations: which layers are one, what their duals cost, and which need variances."""

from gramserve.spec import layers

_COSINE = 8
"""Cosine, sine and angle of an entry from covariance and variances."""

DUAL_OPERATIONS: dict[type[layers.LayerModel], int] = {
    layers.Relu: _COSINE + 5,
    layers.LeakyRelu: _COSINE + 6,
    layers.AbRelu: _COSINE + 6,
    layers.Abs: _COSINE + 6,
    layers.ArcCosine: _COSINE + 6,
    layers.Erf: 8,
    layers.SigmoidLike: 8,
    layers.Gelu: _COSINE + 20,
    layers.Sign: _COSINE + 2,
    layers.Step: _COSINE + 2,
    layers.Sin: 10,
    layers.Cos: 10,
    layers.Rbf: 6,
    layers.Exp: 5,
    layers.Gaussian: 8,
    layers.Gabor: 20,
    layers.Monomial: 4,
    layers.Polynomial: 4,
    layers.Hermite: 4,
    layers.Identity: 0,
    layers.ExpNormalized: 8,
    layers.Power: 7,
    layers.Square: 1,
    layers.Linear: 1,
    layers.LayerNorm: 3,
    layers.Center: 4,
}
"""Operations an entry of the NNGP dual of every activation; those of a series, of one power."""

_PLANE_OPERATIONS: dict[type[layers.LayerModel], int] = {
    layers.LeakyRelu: 33,
    layers.AbRelu: 33,
    layers.Abs: 35,
    layers.Erf: 85,
    layers.SigmoidLike: 85,
    layers.Gelu: 120,
    layers.Sign: 30,
    layers.Step: 28,
    layers.Sin: 60,
    layers.Cos: 60,
    layers.Rbf: 27,
    layers.Exp: 29,
    layers.Gaussian: 42,
    layers.Gabor: 98,
    layers.Power: 18,
    layers.Square: 8,
    layers.LayerNorm: 34,
}
"""The same on offset planes, measured, where it differs: polynomials in place of elementary
functions, and no convolution that is done in the same pass."""

_PLANE_ANGLES = 29
"""Of the arc-cosine kernel of order 0."""

_PLANE_SQUARE_OF_ANGLES = 50
"""Of that of order 2."""

_PLANE_POWERS_OF_ANGLES = 150
"""Of those of higher orders, whatever the order."""


def dual_operations(layer: layers.LayerModel, *, on_planes: bool = False) -> int:
    """Return the operations an entry of an activation's NNGP dual.

    Parameters
    ----------
    layer : LayerModel
        An activation that is no quadrature.
    on_planes : bool
        Whether it is taken in vectors on offset planes.

    Returns
    -------
    int
        Operations; for series and arc-cosine kernels they depend on the degree or the order.

    Examples
    --------
    >>> dual_operations(layers.Relu()), dual_operations(layers.Monomial(degree=3))
    (13, 16)
    """
    plain = DUAL_OPERATIONS[type(layer)]
    match layer:
        case layers.Monomial() | layers.Hermite() | layers.Polynomial():
            degree = (
                len(layer.coefficients) - 1
                if isinstance(layer, layers.Polynomial)
                else layer.degree
            )
            # In vectors the weights of the powers are polynomials of every entry's variances.
            weights = (degree + 1) * (degree + 4) // 2
            return 65 + 5 * weights // 2 if on_planes else plain * (degree + 1)
        case layers.ArcCosine() if layer.order == 0:
            return _PLANE_ANGLES if on_planes else DUAL_OPERATIONS[layers.Step]
        case layers.ArcCosine() if layer.order == 1:
            return DUAL_OPERATIONS[layers.Relu]
        case layers.ArcCosine() if layer.order == 2 and on_planes:
            return _PLANE_SQUARE_OF_ANGLES
        case layers.ArcCosine():
            return _PLANE_POWERS_OF_ANGLES if on_planes else plain + 4 * layer.order
    return _PLANE_OPERATIONS.get(type(layer), plain) if on_planes else plain


def uses_variances(layer: layers.LayerModel) -> bool:
    """Return whether a layer's dual needs the variances of both items.

    Parameters
    ----------
    layer : LayerModel
        Any layer.

    Returns
    -------
    bool
        True for activations other than those that are functions of the covariance alone.
    """
    alone = layers.Identity | layers.Square | layers.Linear | layers.Center
    return (type(layer) in DUAL_OPERATIONS or isinstance(layer, layers.Numeric)) and not isinstance(
        layer, alone
    )


def averages_variances(layer: layers.LayerModel) -> bool:
    """Return whether a layer needs the mean of the variances over all positions, one number.

    Parameters
    ----------
    layer : LayerModel
        Any layer.

    Returns
    -------
    bool
        True for layer normalisation over channels and positions.
    """
    return isinstance(layer, layers.LayerNorm) and layer.axes == "all"


def variance_count(layer: layers.LayerModel, positions: int) -> int:
    """Return how many variances of an item a layer needs.

    Parameters
    ----------
    layer : LayerModel
        Any layer.
    positions : int
        Positions at its input.

    Returns
    -------
    int
        0, 1 or all.
    """
    if not uses_variances(layer):
        return 0
    return 1 if averages_variances(layer) else positions
