"""The slow oracle: one pair at a time, one entry at a time, straight from the definitions.

Written against the definitions, not against the engine: plain loops over positions and taps,
three covariances (x with x, x with x', x' with x') carried side by side, angles from half-angle
formulas, pools as explicit window sums. Only for tiny items.
"""

import itertools
import math

import numpy as np
from naive_duals import dual


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


def normalise(pair, layer):
    """Layer normalisation; over all positions the variances are replaced by their mean."""
    axes = pair.xy.ndim // 2
    sides = {"xx": (pair.xx, pair.xx), "xy": (pair.xx, pair.yy), "yy": (pair.yy, pair.yy)}
    sides["t"] = sides["xy"]
    out = {}
    for name, both in sides.items():
        widths = []
        for side in both:
            spots = list(np.ndindex(*side.shape[:axes]))
            found = {spot: side[spot + spot] for spot in spots}
            if layer["axes"] == "all":
                found = dict.fromkeys(spots, sum(found.values()) / len(found))
            widths.append({spot: math.sqrt(max(q, 0) + layer["eps"]) for spot, q in found.items()})
        state = np.zeros_like(getattr(pair, name))
        for place in np.ndindex(*state.shape):
            width = widths[0][place[:axes]] * widths[1][place[axes:]]
            if width > 0:
                state[place] = getattr(pair, name)[place] / width
        out[name] = state
    return Pair(out["xx"], out["xy"], out["yy"], out["t"])


def centre(state):
    count = math.prod(state.shape[: state.ndim // 2])
    away = np.eye(count) - 1 / count
    return (away @ state.reshape(count, count) @ away).reshape(state.shape)


def keep_equal_positions(state):
    axes = state.ndim // 2
    out = np.zeros_like(state)
    for p in np.ndindex(*state.shape[:axes]):
        out[p + p] = state[p + p]
    return out


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
            case "conv_local":
                pair = affine(pair, layer, lambda state, layer=layer: conv(state, layer))
                pair = pair.map(keep_equal_positions)
            case "layer_norm":
                pair = normalise(pair, layer)
            case "center":
                pair = pair.map(centre)
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
    weights = spec["input"].get("channel_variances", 1.0)
    weights = weights if isinstance(weights, list) else [weights] * x.shape[-1]
    bias = spec["input"].get("bias_variance", 0.0)
    if spec["input"]["channels"] == "all":
        x, y = (item.sum(axis=-1, keepdims=True) for item in (x, y))

    def inner(a, b):
        state = np.zeros(a.shape[:-1] + b.shape[:-1])
        for p in np.ndindex(*a.shape[:-1]):
            for q in np.ndindex(*b.shape[:-1]):
                products = zip(weights, a[p], b[q], strict=False)
                state[p + q] = bias + scale * sum(w * u * v for w, u, v in products)
        return state

    xy = inner(x, y)
    pair = walk(spec["layers"], Pair(inner(x, x), xy, inner(y, y), np.zeros_like(xy)))
    return float(pair.xy), float(pair.t)


def naive_gram(spec, x, y):
    """{"nngp": ..., "ntk": ...} of all pairs."""
    values = np.array([[naive_pair(spec, a, b) for b in y] for a in x])
    return {"nngp": values[..., 0], "ntk": values[..., 1]}
