"""Activations: which layers are one, what their duals cost, and which need variances."""

from gramserve.spec import layers

_COSINE = 8
"""Cosine, sine and angle of an entry from covariance and variances."""

DUAL_OPERATIONS: dict[type[layers.LayerModel], int] = {
    layers.Relu: _COSINE + 5,
    layers.LeakyRelu: _COSINE + 6,
    layers.AbRelu: _COSINE + 6,
    layers.Abs: _COSINE + 6,
    layers.ArcCosine: _COSINE + 10,
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
    layers.Monomial: 16,
    layers.Polynomial: 32,
    layers.Hermite: 4,
    layers.Identity: 0,
    layers.ExpNormalized: 8,
    layers.Power: 7,
    layers.Square: 1,
    layers.Linear: 1,
    layers.LayerNorm: 3,
    layers.Center: 4,
}
"""Operations an entry of the NNGP dual of every activation."""


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
