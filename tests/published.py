"""The published arithmetic of two programs that need a card of their own, on dense arrays.

Written from the formulas that the programs evaluate, with their constants where they have them: a
CNTK sums over patches and divides by 9 in the activation; the Myrtle kernels carry all items at
once and take variances from the diagonals. All arrays are (n, n, H, W, H, W).

References
----------
Arora et al., "On Exact Computation with an Infinitely Wide Neural Net", NeurIPS 2019.
Shankar et al., "Neural Kernels Without Tangents", ICML 2020.
"""

import numpy as np


def products(x, y):
    return np.einsum("nijc,mklc->nmijkl", x, y)


def patch_sums(k, pad=1):
    """Sums over 3 x 3 patches of both positions at once."""
    k = np.pad(k, [(0, 0)] * 2 + [(pad, pad)] * 4)
    height, width = k.shape[2] - 2, k.shape[3] - 2
    return sum(
        k[:, :, a : a + height, b : b + width, a : a + height, b : b + width]
        for a in range(3)
        for b in range(3)
    )


def norms(k):
    """Products of the standard deviations at both positions."""
    root = np.sqrt(np.einsum("nnijij->nij", k))
    return root[:, None, :, :, None, None] * root[None, :, None, None, :, :]


def cntk(x, depth, gap=True, fix=False):
    """Return the (n, n) convolutional neural tangent kernel."""
    s = patch_sums(products(x, x))
    t = np.zeros_like(s) if fix else s.copy()
    for layer in range(depth - 1):
        if layer:
            s, t = patch_sums(s), patch_sums(t)
        n = norms(s)
        c = np.clip(s / n, -1, 1)
        rest = np.pi - np.arccos(c)
        s = n * (c * rest + np.sqrt(1 - c * c)) / (9 * np.pi)
        t = t * rest / (9 * np.pi) + s
    if fix:
        t = t - s
    return t.mean(axis=(2, 3, 4, 5)) if gap else np.einsum("nmijij->nm", t)


def _center(k):
    k = k - k.mean(axis=(2, 3), keepdims=True)
    return k - k.mean(axis=(4, 5), keepdims=True)


def _pool(k, window):
    items, outputs = k.shape[0], k.shape[2] // window
    k = k.reshape(items, items, *(outputs, window) * 4)
    return k.mean(axis=(3, 5, 7, 9))


def _group_norm(k, side):
    variance = np.einsum("nnijij->n", k[:, :, :side, :side, :side, :side]) / side**2
    return k / np.sqrt(np.multiply.outer(variance, variance))[:, :, None, None, None, None]


def _activate(k, name, gamma):
    n = norms(k)
    c = np.clip(k / n, -1, 1)
    value = {
        "relu": (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi,
        "quadratic": c**2,
        "quartic": c**4,
        "exponential": np.exp(c),
        "exponential_shifted": np.exp(gamma * (c - 1)),
    }[name.removesuffix("_project")]
    return value if name.endswith("_project") or name == "exponential" else n * value


def neural_kernels(x, arch):
    """Return the (n, n) kernel of a list of layers, ``KERNEL.ARCH``."""
    all_channels = arch[0]["layer"] == "conv3zp_all_chan"
    k = products(*[x.sum(axis=-1, keepdims=True) if all_channels else x] * 2)
    outputs = []
    for layer in arch:
        name = layer["layer"]
        if "residual" in layer:
            k = k + outputs[layer["residual"]]
        if name.startswith("conv"):
            k = patch_sums(k, pad=0 if name == "conv3" else 1) / 9
            k = _center(k) if name == "conv3zpinorm" else k
        elif name.startswith("pool"):
            k = _pool(k, int(name.removeprefix("pool")))
        elif name.startswith("group_norm"):
            k = _group_norm(k, int(name.removeprefix("group_norm_")))
        elif name != "input":
            k = _activate(k, name, layer.get("gamma", 1.0))
        outputs.append(k)
    return k.reshape(len(x), len(x))
