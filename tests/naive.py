"""The slow oracle: one pair at a time, one entry at a time, straight from the definitions.

Written against the definitions, not against the engine: plain loops over positions and taps,
three covariances (x with x, x with x', x' with x') carried side by side, angles from half-angle
formulas, pools as explicit window sums. Only for tiny items.
"""

import itertools
import math

import numpy as np


def conv_index(layer, axis, output, tap, low):
    """Input index that a tap of an output reads, or None where it reads nothing."""
    position = layer["strides"][axis] * output + layer["dilation"][axis] * tap - low
    fill = layer["fill"][axis]
    return position // fill if position % fill == 0 else None


def conv_geometry(layer, shape):
    """(low padding, outputs) of every axis."""
    geometry = []
    for axis, length in enumerate(shape):
        stride, fill = layer["strides"][axis], layer["fill"][axis]
        reach = layer["dilation"][axis] * (layer["size"][axis] - 1) + 1
        filled = (length - 1) * fill + 1
        if isinstance(layer["padding"], str):
            if layer["padding"] == "valid":
                low = high = 0
            else:
                total = max((math.ceil(filled / stride) - 1) * stride + reach - filled, 0)
                low, high = total // 2, total - total // 2
        else:
            low, high = layer["padding"][axis]
        outputs = len(range(0, filled + low + high - reach + 1, stride))
        geometry.append((low, outputs))
    return geometry


def conv(state, layer):
    shape = state.shape[: state.ndim // 2]
    geometry = conv_geometry(layer, shape)
    outputs = [range(count) for _, count in geometry]
    taps = list(itertools.product(*(range(size) for size in layer["size"])))
    result = np.zeros([count for _, count in geometry] * 2)

    def read(place, tap):
        found = []
        for axis, length in enumerate(shape):
            index = conv_index(layer, axis, place[axis], tap[axis], geometry[axis][0])
            if layer["padding"] == "circular":
                index %= length
            if index is None or not 0 <= index < length:
                return None
            found.append(index)
        return tuple(found)

    for p, q in itertools.product(itertools.product(*outputs), repeat=2):
        total = 0.0
        for tap in taps:
            a, b = read(p, tap), read(q, tap)
            if a is not None and b is not None:
                total += state[a + b]
        result[p + q] = total / (len(taps) if layer["average"] else 1)
    return result


def pool_windows(layer, shape):
    """For every axis, for every output, the (input, weight) pairs it sums."""
    axes = []
    for axis, length in enumerate(shape):
        if layer["type"] == "ckn_pool":
            axes.append(ckn_windows(layer, length))
            continue
        window, stride = layer["window"][axis], layer["strides"][axis]
        low = high = 0
        if layer["padding"] == "same":
            total = max((math.ceil(length / stride) - 1) * stride + window - length, 0)
            low, high = total // 2, total - total // 2
        outputs = []
        for output in range((length + low + high - window) // stride + 1):
            start = output * stride - low
            inside = [i for i in range(start, start + window) if 0 <= i < length]
            scale = 1.0
            if layer["type"] == "avg_pool":
                scale = 1 / (len(inside) if layer["normalize_edges"] else window)
            elif layer["normalize_edges"]:
                scale = window / len(inside)
            outputs.append([(i, scale) for i in inside])
        axes.append(outputs)
    return axes


def ckn_windows(layer, length):
    step, factor = layer["subsampling"], layer["factor"]
    if layer["kind"] == "strided":
        return [[(step * (j + 1), 1.0)] for j in range(length // step - 1)]
    if layer["kind"] == "average":
        return [
            [(i, 1 / factor) for i in range(step * j, step * j + factor) if i < length]
            for j in range(length // step)
        ]
    weights = [math.exp(-(i * i) / factor**2) for i in range(-factor, factor + 1)]
    return [
        [(step * j + k, w / sum(weights)) for k, w in enumerate(weights) if step * j + k < length]
        for j in range(length // step - 1)
    ]


def pool(state, layer):
    shape = state.shape[: state.ndim // 2]
    axes = pool_windows(layer, shape)
    counts = [range(len(axis)) for axis in axes]
    result = np.zeros([len(axis) for axis in axes] * 2)
    for place in itertools.product(*counts, *counts):
        windows = [axes[n % len(axes)][j] for n, j in enumerate(place)]
        result[place] = sum(
            math.prod(weight for _, weight in choice) * state[tuple(i for i, _ in choice)]
            for choice in itertools.product(*windows)
        )
    return result


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


def dual(layer, s, q, r):
    """(k, kd) of one entry."""
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
        case "erf":
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


class Pair:
    """Covariances of one pair: x with x, x with x', x' with x', and the tangent kernel."""

    def __init__(self, xx, xy, yy, t):
        self.xx, self.xy, self.yy, self.t = xx, xy, yy, t

    def map(self, function):
        return Pair(*(function(part) for part in (self.xx, self.xy, self.yy, self.t)))


def activate(pair, layer):
    axes = pair.xy.ndim // 2
    out = {"xx": np.zeros_like(pair.xx), "xy": np.zeros_like(pair.xy), "yy": np.zeros_like(pair.yy)}
    slope = np.zeros_like(pair.xy)
    sides = {"xx": (pair.xx, pair.xx), "xy": (pair.xx, pair.yy), "yy": (pair.yy, pair.yy)}
    for name, (left, right) in sides.items():
        state = getattr(pair, name)
        for place in np.ndindex(*state.shape):
            p, q = place[:axes], place[axes:]
            k, kd = dual(layer, state[place], left[p + p], right[q + q])
            out[name][place] = k
            if name == "xy":
                slope[place] = kd
    return Pair(out["xx"], out["xy"], out["yy"], pair.t * slope)


def affine(pair, layer, linear):
    new = pair.map(lambda state: layer["w_std"] ** 2 * linear(state))
    for name in ("xx", "xy", "yy"):
        setattr(new, name, getattr(new, name) + layer["b_std"] ** 2)
    if layer["trainable"]:
        new.t = new.t + new.xy
    return new


def readout(state, layer):
    axes = state.ndim // 2
    count = math.prod(state.shape[:axes])
    places = list(np.ndindex(*state.shape[:axes]))
    if layer["type"] == "flatten":
        total = sum(state[p + p] for p in places)
        return np.asarray(total / count if layer["average"] else total)
    total = sum(state[p + q] for p in places for q in places)
    return np.asarray(total / count**2 if layer["type"] == "global_avg_pool" else total)


def walk(network, pair):
    for layer in network:
        match layer["type"]:
            case "conv":
                pair = affine(pair, layer, lambda state, layer=layer: conv(state, layer))
            case "dense":
                pair = affine(pair, layer, lambda state: state)
            case "avg_pool" | "sum_pool" | "ckn_pool":
                pair = pair.map(lambda state, layer=layer: pool(state, layer))
            case "global_avg_pool" | "global_sum_pool" | "flatten":
                pair = pair.map(lambda state, layer=layer: readout(state, layer))
            case "residual" | "concat":
                ends = [walk(branch, pair) for branch in layer["branches"]]
                scale = 1 / len(ends) if layer["type"] == "concat" else 1.0
                pair = Pair(
                    *(
                        scale * sum(getattr(end, name) for end in ends)
                        for name in ("xx", "xy", "yy", "t")
                    )
                )
            case _:
                pair = activate(pair, layer)
    return pair


def naive_pair(spec, x, y):
    """(nngp, ntk) of one pair of items; ``spec`` is a KernelSpec's canonical JSON."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    scale = 1 / x.shape[-1] if spec["input"]["channels"] == "mean" else 1.0

    def inner(a, b):
        state = np.zeros(a.shape[:-1] + b.shape[:-1])
        for p in np.ndindex(*a.shape[:-1]):
            for q in np.ndindex(*b.shape[:-1]):
                state[p + q] = scale * sum(u * v for u, v in zip(a[p], b[q], strict=True))
        return state

    xy = inner(x, y)
    pair = walk(spec["layers"], Pair(inner(x, x), xy, inner(y, y), np.zeros_like(xy)))
    return float(pair.xy), float(pair.t)


def naive_gram(spec, x, y):
    """{"nngp": ..., "ntk": ...} of all pairs."""
    values = np.array([[naive_pair(spec, a, b) for b in y] for a in x])
    return {"nngp": values[..., 0], "ntk": values[..., 1]}
