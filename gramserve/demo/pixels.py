"""What happens to pixels before a kernel sees them: equal brightness and contrast, whitening.

Neighbouring pixels of photographs are nearly equal, so most of a patch's inner product with another
says how bright both are. Whitening takes that away; convolutional kernels gain much by it.

References
----------
Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011.
Shankar et al., "Neural Kernels Without Tangents", ICML 2020.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

_REGULARISATION = 0.1
"""Added to every variance, relative to their mean. Chosen on other images than the demo's."""


def standardise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give every image mean 0 and variance 1, over all its pixels and channels.

    Parameters
    ----------
    images : ndarray, (n, H, W, C)
        None of them of one colour value alone.

    Returns
    -------
    ndarray, (n, H, W, C)
        float32.
    """
    values = images.astype(np.float64)
    centred = values - values.mean(axis=(1, 2, 3), keepdims=True)
    scaled: NDArray[Any] = centred / centred.std(axis=(1, 2, 3), keepdims=True)
    return scaled.astype(np.float32)


def whiten(
    train: NDArray[Any], test: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whiten images symmetrically (ZCA), by the training images alone.

    ``x -> (M + r I)^(-1/2) x`` with the second moments ``M`` of the training images. A few
    hundred images do not determine all of ``M``, which has 3072 rows for 32 x 32 colour pixels.
    So statistics are taken to be the same everywhere in a picture: frequencies of the cosine
    transform then do not correlate with each other, and each has one C x C matrix of moments.

    Parameters
    ----------
    train : ndarray, (n, H, W, C)
        The moments are those of these images.
    test : ndarray, (m, H, W, C)
        Images that get the same linear map.

    Returns
    -------
    train, test : ndarray, (n, H, W, C) and (m, H, W, C)
        float32; the training images' mean square is 1.
    """
    spectrum = dctn(train.astype(np.float64), axes=(1, 2), norm="ortho")
    moments = np.einsum("nhwc,nhwd->hwcd", spectrum, spectrum) / len(train)
    variances, axes = np.linalg.eigh(moments)
    weights = 1 / np.sqrt(variances + _REGULARISATION * variances.mean())
    maps = (axes * weights[..., None, :]) @ axes.swapaxes(-1, -2)
    # The root mean square of the training images after the map.
    scale = np.sqrt(np.mean(weights**2 * variances))

    def apply(images: NDArray[Any]) -> NDArray[np.float32]:
        values = dctn(images.astype(np.float64), axes=(1, 2), norm="ortho")
        mapped = np.einsum("nhwc,hwcd->nhwd", values, maps / scale)
        white: NDArray[Any] = idctn(mapped, axes=(1, 2), norm="ortho")
        return white.astype(np.float32)

    return apply(train), apply(test)
