"""Finite networks as plain differentiable functions of their parameters, for autograd.

The second implementation: convolutions by selection tensors made entry by entry, pools by window
sums, parameters as one flat vector; nothing of gramserve but the spec is used.
"""

import itertools
import math

import autograd.numpy as anp
import naive
import numpy as np
from autograd import jacobian
from autograd.scipy import special


def forward(layers, x, parameters, settings):
    """Units behind layers.

    ``parameters`` maps paths to (weights, biases or None); ``settings`` has ``divisor``, ``path``
    and ``is_standard``. Returns the units and the divisor behind them.
    """
    units, divisor = x, settings["divisor"]
    for index, layer in enumerate(layers):
        path = (*settings["path"], index)
        if layer["type"] in ("residual", "concat"):
            units, divisor = branches(
                layer, units, parameters, {**settings, "divisor": divisor, "path": path}
            )
        elif layer["type"] in ("conv", "conv_local", "dense"):
            units, divisor = affine(
                layer, units, parameters[path], divisor, settings["is_standard"]
            )
        elif layer["type"] == "flatten":
            count = math.prod(units.shape[1:-1])
            divisor *= count if layer["average"] else 1
            units = anp.reshape(units, (len(units), -1))
        else:
            units = plain(layer, units)
    return units, divisor


def branches(layer, units, parameters, settings):
    ends = [
        forward(branch, units, parameters, {**settings, "path": (*settings["path"], number)})
        for number, branch in enumerate(layer["branches"])
    ]
    largest = max(divisor for _, divisor in ends)
    scaled = [math.sqrt(largest / divisor) * end for end, divisor in ends]
    if layer["type"] == "concat":
        return anp.concatenate(scaled, axis=-1), largest * len(ends)
    return sum(scaled), largest


def affine(layer, units, parameters, divisor, is_standard):
    weights, biases = parameters
    taps = math.prod(layer.get("size", ()))
    scale = layer["w_std"] / math.sqrt(divisor)
    if layer.get("average"):
        scale /= math.sqrt(taps)
    deviation = layer["b_std"]
    if is_standard:
        scale = deviation = 1
    if layer["type"] == "dense":
        result = anp.einsum("bi,ij->bj", units, weights[0])
    else:
        positions = units.shape[1:-1]
        selection = select(layer, positions)
        flat = anp.reshape(units, (len(units), -1, units.shape[-1]))
        patches = anp.einsum("qtp,bpc->bqtc", selection, flat)
        which = "qtcd" if layer["type"] == "conv_local" else "tcd"
        result = anp.einsum(f"bqtc,{which}->bqd", patches, weights)
    result = scale * result
    if biases is not None:
        result = result + deviation * biases
    if layer["type"] != "dense":
        outputs = [count for _, count in naive.conv_geometry(layer, positions)]
        result = anp.reshape(result, (len(units), *outputs, -1))
    return result, weights.shape[-1]


def select(layer, positions):
    """Tensor [output, tap, input] of ones where a tap reads an input."""
    geometry = naive.conv_geometry(layer, positions)
    outputs = list(itertools.product(*(range(count) for _, count in geometry)))
    taps = list(itertools.product(*(range(size) for size in layer["size"])))
    tensor = np.zeros((len(outputs), len(taps), math.prod(positions)))
    for (q, output), (t, tap) in itertools.product(enumerate(outputs), enumerate(taps)):
        place = [
            naive.conv_index(layer, axis, output[axis], tap[axis], geometry[axis][0])
            for axis in range(len(positions))
        ]
        if layer["padding"] == "circular":
            place = [i % n for i, n in zip(place, positions, strict=True)]
        if all(i is not None and 0 <= i < n for i, n in zip(place, positions, strict=True)):
            tensor[q, t, np.ravel_multi_index(place, positions)] = 1
    return tensor


def plain(layer, units):
    axes = tuple(range(1, units.ndim - 1))
    match layer["type"]:
        case "identity":
            return units
        case "linear":
            return math.sqrt(layer["factor"]) * units
        case "avg_pool" | "sum_pool" | "ckn_pool":
            windows = naive.pool_windows(layer, units.shape[1:-1])
            for axis, outputs in enumerate(windows):
                matrix = np.zeros((len(outputs), units.shape[axis + 1]))
                for output, window in enumerate(outputs):
                    for place, weight in window:
                        matrix[output, place] += weight
                units = anp.moveaxis(anp.tensordot(matrix, units, (1, axis + 1)), 0, axis + 1)
            return units
        case "global_avg_pool":
            return anp.mean(units, axis=axes)
        case "global_sum_pool":
            return anp.sum(units, axis=axes)
        case "layer_norm":
            over = (units.ndim - 1,) if layer["axes"] == "channels" else (*axes, units.ndim - 1)
            centred = units - anp.mean(units, axis=over, keepdims=True)
            variance = anp.mean(centred**2, axis=over, keepdims=True)
            return centred / anp.sqrt(variance + layer["eps"])
        case "relu":
            return (math.sqrt(2) if layer["normalized"] else 1) * anp.maximum(units, 0)
        case "erf":
            return layer["a"] * special.erf(layer["b"] * units) + layer["c"]
        case "numeric":
            return {"tanh": anp.tanh, "softplus": lambda z: anp.logaddexp(0, z)}[layer["function"]](
                units
            )
        case "sin":
            return layer["a"] * anp.sin(layer["b"] * units + layer["c"])


def jacobians(spec, x, parameters, trained):
    """Outputs (n, R) and their Jacobians (n, R, parameters) by those of all trained paths."""
    network = spec.canonical()["layers"]
    if network[-1]["type"] != "dense":
        network.append({"type": "dense", "w_std": 1, "b_std": 0})
    divisor = 1 if spec.input.channels == "sum" else x.shape[-1]
    is_standard = spec.finite.parameterization == "standard"
    settings = {"divisor": divisor, "path": (), "is_standard": is_standard}
    shapes = {path: [None if p is None else p.shape for p in parameters[path]] for path in trained}

    def unpack(flat):
        found, start = dict(parameters), 0
        for path, both in shapes.items():
            parts = []
            for shape in both:
                size = 0 if shape is None else math.prod(shape)
                parts.append(
                    None if shape is None else anp.reshape(flat[start : start + size], shape)
                )
                start += size
            found[path] = tuple(parts)
        return found

    def outputs(flat):
        return forward(network, x, unpack(flat), settings)[0]

    flat = np.concatenate(
        [np.ravel(p) for path in trained for p in parameters[path] if p is not None]
        or [np.zeros(0)]
    )
    value = outputs(flat)
    # autograd warns of what does not depend on the parameters at all.
    return value, jacobian(outputs)(flat) if trained else np.zeros((*value.shape, 0))
