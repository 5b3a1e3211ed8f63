"""The steps once more, one item and one value at a time, from their definitions."""

import math

import numpy as np


def centred(items, per="item"):
    out = np.array(items, dtype=float)
    for item in out:
        for values in groups(item, per):
            np.subtract(values, math.fsum(values.ravel()) / values.size, out=values)
    return out


def normalized(items, norm, per="item", eps=0.0):
    out = np.array(items, dtype=float)
    for item in out:
        for values in groups(item, per):
            total = math.fsum(value * value for value in values.ravel())
            size = math.sqrt((total / values.size if norm == "rms" else total) + eps)
            if size > 0:
                np.divide(values, size, out=values)
    return out


def standardized(items, train, per="channel", eps=0.0):
    out, train = np.array(items, dtype=float), np.array(train, dtype=float)
    places = [(..., c) for c in range(out.shape[-1])]
    if per == "feature":
        places = [(slice(None), *index) for index in np.ndindex(out.shape[1:])]
    for place in places:
        mean = math.fsum(train[place].ravel()) / train[place].size
        variance = math.fsum((train[place].ravel() - mean) ** 2) / train[place].size
        deviation = math.sqrt(variance + eps)
        out[place] = (out[place] - mean) / (deviation if deviation > 0 else 1)
    return out


def whitened(items, train, r, mode="absolute", center=False):
    rows = np.array(train, dtype=float).reshape(len(train), -1)
    mean = rows.mean(axis=0) if center else np.zeros(rows.shape[1])
    moments = np.zeros((rows.shape[1], rows.shape[1]))
    for row in rows:
        moments += np.outer(row - mean, row - mean)
    moments /= len(rows)
    if mode == "relative":
        r *= np.trace(moments) / len(moments)
    values, vectors = np.linalg.eigh(moments)
    matrix = vectors @ np.diag(1 / np.sqrt(values + r)) @ vectors.T
    out = (np.array(items, dtype=float).reshape(len(items), -1) - mean) @ matrix
    return out.reshape(np.shape(items))


def groups(item, per):
    """Return views of the values that share one mean."""
    return [item] if per == "item" else [item[..., c] for c in range(item.shape[-1])]
