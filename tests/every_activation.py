"""One layer or more of every activation that has a dual, with parameters that are not 1."""

from gramserve.spec import parse_kernel

ACTIVATIONS = {
    "relu": {"type": "relu", "normalized": True},
    "leaky_relu": {"type": "leaky_relu", "alpha": 0.1},
    "abrelu": {"type": "abrelu", "a": -0.5, "b": 1.2},
    "abs": {"type": "abs"},
    "order 0": {"type": "arc_cosine", "order": 0},
    "order 2": {"type": "arc_cosine", "order": 2},
    "order 3": {"type": "arc_cosine", "order": 3},
    "sign": {"type": "sign"},
    "step": {"type": "step"},
    "erf": {"type": "erf", "a": 0.7, "b": 1.5, "c": 0.2},
    "sigmoid_like": {"type": "sigmoid_like"},
    "gelu": {"type": "gelu"},
    "sin": {"type": "sin", "a": 1.2, "b": 0.6, "c": 0.4},
    "cos": {"type": "cos", "b": 0.5},
    "rbf": {"type": "rbf", "gamma": 0.7},
    "exp": {"type": "exp", "b": 0.5},
    "gaussian": {"type": "gaussian", "b": -0.3},
    "gabor": {"type": "gabor"},
    "monomial": {"type": "monomial", "degree": 3},
    "polynomial": {"type": "polynomial", "coefficients": [0.5, 1, -0.2, 0.1]},
    "hermite": {"type": "hermite", "degree": 3},
    "exp_normalized": {"type": "exp_normalized", "gamma": 2.0},
    "power": {"type": "power", "degree": 3},
    "square": {"type": "square"},
    "norm of channels": {"type": "layer_norm", "axes": "channels"},
    "norm of all": {"type": "layer_norm", "axes": "all", "eps": 0.1},
}
"""All that the CPU engine runs, by a name for people."""

DEGREES_OF_TEMPLATES = {
    "order 1": {"type": "arc_cosine", "order": 1, "normalized": True},
    "order 4": {"type": "arc_cosine", "order": 4},
    "order 7": {"type": "arc_cosine", "order": 7},
    "order 20": {"type": "arc_cosine", "order": 20},
    "power 0": {"type": "power", "degree": 0},
    "power 1": {"type": "power", "degree": 1},
    "power 4": {"type": "power", "degree": 4},
    "constant": {"type": "polynomial", "coefficients": [0.7]},
    "hermite 6": {"type": "hermite", "degree": 6},
}
"""More of those whose degree the CUDA engine compiles, where that changes the form."""

NUMERIC = {
    name: {"type": "numeric", "function": name, "degree": 60}
    for name in ("tanh", "softplus", "silu", "relu")
}
"""Some of the functions that only the reference engine runs."""

STEPS = {"order 0", "sign", "step"}
"""Those whose own dual has an infinite slope at angles 0 and pi."""

DEGREES = {
    **dict.fromkeys(["relu", "leaky_relu", "abrelu", "abs", "exp_normalized", "power"], 1),
    **dict.fromkeys(["order 0", "sign", "step"], 0),
    "order 2": 2,
    "order 3": 3,
    "square": 2,
    "monomial": 3,
}
"""Those whose dual is homogeneous: ``k(r S, r q, r q') = r^degree k(S, q, q')``."""


def spec_of(*layers):
    """NNGP and NTK of layers."""
    return parse_kernel({"kernel": ["nngp", "ntk"], "layers": list(layers)})
