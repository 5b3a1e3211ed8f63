"""The kernels as one would write them with arrays: every layer of all pairs at once.

Covariances are arrays (pairs, H, W, H, W); a convolution sums shifted slices, an activation takes
the arc cosine, a pool is a mean over reshaped axes. Runs on NumPy and on CuPy.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020, algorithm 1.
Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009.
"""

from math import pi

from gramserve.arrays import namespace_of
from gramserve.spec import layers


def _patches(k):
    """Mean over 3 x 3 patches around both positions at once, with zeros around the image."""
    xp = namespace_of(k)
    _, height, width, _, _ = k.shape
    padded = xp.pad(k, [(0, 0)] + [(1, 1)] * 4)
    total = xp.zeros_like(k)
    for a in range(3):
        for b in range(3):
            down, across = slice(a, a + height), slice(b, b + width)
            total += padded[:, down, across, down, across]
    return total / 9


def _pool(k, window):
    pairs, height, width, _, _ = k.shape
    down, across = height // window, width // window
    k = k.reshape(pairs, *(down, window, across, window) * 2)
    return k.mean(axis=(2, 4, 6, 8))


def _diagonal(k):
    return namespace_of(k).einsum("bijij->bij", k) if k.ndim == 5 else k


def _outer(left, right):
    if left.ndim == 1:
        return left * right
    return left[:, :, :, None, None] * right[:, None, None, :, :]


def _walk(spec, x, y, roots):
    """Yield what the layers leave, ``(s, t)``; ``roots`` gives what activations divide by."""
    xp = namespace_of(x)
    s = xp.einsum("bijc,bklc->bijkl", x, y)
    if spec.input.channels == "mean":
        s = s / x.shape[-1]
    t = xp.zeros_like(s) if "ntk" in spec.kernels else None
    for layer in spec.layers:
        match layer:
            case layers.Conv(size=(3, 3)) | layers.Dense():
                s = _patches(s) if isinstance(layer, layers.Conv) else s
                s = s * layer.w_std**2
                if t is not None:
                    t = (_patches(t) if isinstance(layer, layers.Conv) else t) * layer.w_std**2
                    t = t + s
            case layers.Relu(normalized=True):
                norm = _outer(*roots(s))
                cosine = xp.clip(s / norm, -1, 1)
                angle = xp.arccos(cosine)
                factor = 1 if layer.project else norm
                s = factor * (xp.sqrt(1 - cosine * cosine) + (pi - angle) * cosine) / pi
                if t is not None:
                    t = t * (pi - angle) / pi * (factor / norm)
            case layers.AvgPool():
                window = layer.window[0]
                s, t = _pool(s, window), None if t is None else _pool(t, window)
            case layers.GlobalAvgPool():
                axes = (1, 2, 3, 4)
                s, t = s.mean(axis=axes), None if t is None else t.mean(axis=axes)
            case _:
                raise ValueError(f"the baseline has no {layer.type}")
    return s if t is None else t


def item_roots(spec, x):
    """Return the standard deviations that activations see, from every item with itself.

    Parameters
    ----------
    spec : KernelSpec
        3 x 3 convolutions, normalised rectifiers, mean pools, a global mean, dense layers.
    x : array, (n, H, W, C)
        The items.

    Returns
    -------
    list of array, (n, H, W) or (n,)
        For every activation.
    """
    found = []

    def roots(s):
        found.append(namespace_of(s).sqrt(_diagonal(s)))
        return found[-1], found[-1]

    _walk(spec, x, x, roots)
    return found


def dense_kernel(spec, x, y, x_roots, y_roots):
    """Return the kernel of every item of ``x`` with that of ``y`` in the same place.

    Parameters
    ----------
    spec : KernelSpec
        As :func:`item_roots` has it; its NTK where it has one, else its NNGP kernel.
    x, y : array, (b, H, W, C)
        The two items of each pair.
    x_roots, y_roots : list of array
        Theirs, from :func:`item_roots`.

    Returns
    -------
    array, (b,)
        In the dtype of the items.
    """
    pairs = iter(zip(x_roots, y_roots, strict=True))
    return _walk(spec, x, y, lambda _: next(pairs))
