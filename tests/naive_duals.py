"""Duals of the slow oracle: textbook formulas, one entry at a time."""

import math

import numpy as np


def angle(s, q, r):
    """Angle between vectors of squared lengths q and r and inner product s, by half angles."""
    if q <= 0 or r <= 0:
        return math.pi / 2
    c = max(-1.0, min(1.0, s / math.sqrt(q) / math.sqrt(r)))
    return 2 * math.atan2(math.sqrt(max(1 - c, 0)), math.sqrt(max(1 + c, 0)))


def arc_cosine_j(order, th):
    rest = math.pi - th
    if order == 0:
        return rest
    if order == 1:
        return math.sin(th) + rest * math.cos(th)
    return 3 * math.sin(th) * math.cos(th) + rest * (1 + 2 * math.cos(th) ** 2)


def moment(k, m, s, q, r):
    """E[u^k v^m], by pairing one u off at a time (Isserlis)."""
    if k == 0:
        return 0.0 if m % 2 else math.prod(range(1, m, 2)) * r ** (m // 2)
    total = (k - 1) * q * moment(k - 2, m, s, q, r) if k > 1 else 0.0
    return total + (m * s * moment(k - 1, m - 1, s, q, r) if m else 0.0)


def polynomial_dual(coefficients, s, q, r):
    def pairs(c):
        return sum(
            a * b * moment(i, j, s, q, r) for i, a in enumerate(c) for j, b in enumerate(c) if a * b
        )

    return pairs(coefficients), pairs([i * c for i, c in enumerate(coefficients)][1:] or [0.0])


def coefficients_of(layer):
    if layer["type"] == "polynomial":
        return layer["coefficients"]
    if layer["type"] == "monomial":
        return [0.0] * layer["degree"] + [1.0]
    series = np.zeros(layer["degree"] + 1)
    series[-1] = 1 / math.sqrt(math.factorial(layer["degree"]))
    return list(np.polynomial.hermite_e.herme2poly(series))


def tilted_sine(s, q, r):
    """(k, kd) of exp(-z^2) sin z, from the matrices themselves."""
    sigma = np.array([[q, s], [s, r]])
    wide = np.eye(2) + 2 * sigma
    scale = 1 / math.sqrt(np.linalg.det(wide))
    (q, s), (_, r) = np.linalg.solve(wide, sigma)
    decay = scale * math.exp(-(q + r) / 2)
    # E of cos cos, u v sin sin, and u sin cos twice, under the tilted Gaussian.
    cosines = decay * math.cosh(s)
    sines = decay * math.sinh(s)
    one, other = q * cosines - s * sines, r * cosines - s * sines
    crossed = s * sines + (q * r + s * s) * cosines - s * (q + r) * sines
    return sines, cosines - 2 * (one + other) + 4 * crossed


WIDTH = 2.4020563531719796


NUMERIC = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "softplus": (lambda z: np.log(1 + np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "silu": (
        lambda z: z / (1 + np.exp(-z)),
        lambda z: (1 + np.exp(-z) + z * np.exp(-z)) / (1 + np.exp(-z)) ** 2,
    ),
}


def numeric_dual(layer, c, q, r):
    """Hermite coefficients by NumPy's rule and polynomials, one at a time."""
    degree = layer["degree"]
    nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
    weights = weights / weights.sum()
    totals = []
    for phi in NUMERIC[layer["function"]]:
        total = 0.0
        for j in range(degree):
            unit = np.zeros(j + 1)
            unit[j] = 1 / math.sqrt(math.factorial(j))
            h = np.polynomial.hermite_e.hermeval(nodes, unit)
            a, b = (float(np.sum(weights * phi(math.sqrt(v) * nodes) * h)) for v in (q, r))
            total += a * b * c**j
        totals.append(total)
    return tuple(totals)


def dual(layer, s, q, r):
    """(k, kd) of one entry."""
    q, r = max(q, 0.0), max(r, 0.0)  # positions cancel around a mean, but for rounding
    n, th = math.sqrt(q) * math.sqrt(r), angle(s, q, r)
    c = math.cos(th) if n > 0 else 0.0
    match layer["type"]:
        case "relu":
            scale = (1 if layer["normalized"] else 0.5) / math.pi
            k, kd = scale * n * arc_cosine_j(1, th), scale * (math.pi - th)
        case "arc_cosine":
            m = layer["order"]
            scale = (1 if layer["normalized"] else 0.5) / math.pi
            k = scale * n**m * arc_cosine_j(m, th)
            kd = scale * m * m * n ** (m - 1) * arc_cosine_j(m - 1, th) if m else 0.0
        case "leaky_relu" | "abrelu" | "abs":
            a, b = {
                "leaky_relu": lambda: (layer["alpha"], 1.0),
                "abrelu": lambda: (layer["a"], layer["b"]),
                "abs": lambda: (-1.0, 1.0),
            }[layer["type"]]()
            # E over the four sign patterns: relu duals of (u, v), (-u, -v), (u, -v), (-u, v).
            plus = n * arc_cosine_j(1, th) / (2 * math.pi)
            minus = n * arc_cosine_j(1, math.pi - th) / (2 * math.pi)
            k = (a * a + b * b) * plus - 2 * a * b * minus
            kd = (a * a + b * b) * (math.pi - th) / (2 * math.pi) + 2 * a * b * th / (2 * math.pi)
        case "sign":
            k, kd = 1 - 2 * th / math.pi, 0.0
        case "step":
            k, kd = (math.pi - th) / (2 * math.pi), 0.0
        case "gelu":
            width = (1 + q) * (1 + r)
            tail = math.asin(s / math.sqrt(width)) / (2 * math.pi) + 0.25
            bell = 1 / (2 * math.pi * math.sqrt(width - s * s))
            k = s * tail + bell * (q * r - q * s * s / (1 + q) + s * s / (1 + r))
            kd = tail + bell * s * (1 / (1 + q) + 1 / (1 + r) + 1 / (width - s * s))
        case "sin" | "cos":
            a, b, shift = layer["a"], layer["b"], layer["c"]
            turn = math.cos(2 * shift) * (-1 if layer["type"] == "cos" else 1)
            near = math.exp(-b * b * (q + r - 2 * s) / 2)
            far = math.exp(-b * b * (q + r + 2 * s) / 2)
            k, kd = a * a / 2 * (near - far * turn), a * a * b * b / 2 * (near + far * turn)
        case "rbf":
            k = math.exp(-layer["gamma"] * (q + r - 2 * s))
            kd = 2 * layer["gamma"] * k
        case "exp":
            k = layer["a"] ** 2 * math.exp(layer["b"] ** 2 * (q + r + 2 * s) / 2)
            kd = layer["b"] ** 2 * k
        case "gaussian":
            a, b = layer["a"], layer["b"]
            inverse = (1 - 2 * b * q) * (1 - 2 * b * r) - (2 * b * s) ** 2
            k, kd = a * a * inverse**-0.5, (2 * a * b) ** 2 * s * inverse**-1.5
        case "numeric":
            k, kd = numeric_dual(layer, c, q, r)
        case "gabor":
            k, kd = tilted_sine(s, q, r)
        case "monomial" | "polynomial" | "hermite":
            k, kd = polynomial_dual(coefficients_of(layer), s, q, r)
        case "erf" | "sigmoid_like":
            if layer["type"] == "sigmoid_like":
                layer = {"a": 0.5, "b": 1 / WIDTH, "c": 0.5}
            a, b, shift = layer["a"], layer["b"], layer["c"]
            s, q, r = s * b * b, q * b * b, r * b * b
            width = (1 + 2 * q) * (1 + 2 * r)
            k = a * a * 2 / math.pi * math.asin(2 * s / math.sqrt(width)) + shift**2
            kd = a * a * b * b * 4 / math.pi / math.sqrt(width - 4 * s * s)
        case "exp_normalized":
            e = math.exp(layer["gamma"] * (c + layer["shift"]))
            k, kd = n * e, layer["gamma"] * e
        case "power":
            m = layer["degree"]
            k, kd = n * c**m, m * c ** (m - 1) if m else 0.0
        case "square":
            k, kd = s * s, 2 * s
        case "linear":
            k, kd = layer["factor"] * s, layer["factor"]
        case "identity":
            k, kd = s, 1.0
    if layer.get("project"):
        return (k / n, kd / n) if n > 0 else (0.0, 0.0)
    return k, kd
