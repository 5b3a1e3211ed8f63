"""Names of the functions that ``numeric`` activations may have."""

from typing import Any

from gramserve.spec.names import nearest

FUNCTIONS = (
    "arctan", "celu", "cos", "elu", "erf", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh",
    "identity", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "sin",
    "softplus", "softsign", "swish", "tanh",
)  # fmt: skip
"""All names; :mod:`gramserve.kernels.functions` has the functions and their derivatives."""


def known_function(value: Any) -> Any:
    """Refuse a name that is not one of :data:`FUNCTIONS`, and propose the nearest.

    Parameters
    ----------
    value : object
        What was given.

    Returns
    -------
    object
        The same.

    Raises
    ------
    ValueError
        When there is no such function.
    """
    if value not in FUNCTIONS:
        msg = f"{value!r} is not a known function{nearest(value, FUNCTIONS)}"
        raise ValueError(msg)
    return value
