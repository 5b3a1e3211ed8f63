"""A picture of a Gram matrix, sorted by class."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def correlations(gram: NDArray[Any]) -> NDArray[np.float64]:
    """Return a Gram matrix as correlations: what all items share is taken out.

    ``C = (I - 1/n) K (I - 1/n)``, then ``C_ij / sqrt(C_ii C_jj)``. Deep kernels of any two images
    are nearly the same number; how they differ shows only then.

    Parameters
    ----------
    gram : ndarray, (n, n)
        Of items that are not all the same to the kernel.

    Returns
    -------
    ndarray, (n, n)
        From -1 to 1.
    """
    values = gram.astype(np.float64)
    means = values.mean(axis=0)
    centred = values - means - means[:, None] + means.mean()
    lengths = np.sqrt(centred.diagonal())
    scaled: NDArray[np.float64] = centred / lengths / lengths[:, None]
    return scaled


def save_picture(gram: NDArray[Any], labels: NDArray[Any], title: str, path: Path) -> None:
    """Draw the correlations of a Gram matrix with the classes along the axes.

    Parameters
    ----------
    gram : ndarray, (n, n)
        Sorted by class.
    labels : ndarray, (n,)
        The classes, as numbers or names.
    title : str
        Above the picture.
    path : Path
        The PNG file.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    classes, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    figure, axes = plt.subplots(figsize=(6.4, 5.6), dpi=150)
    shown = correlations(gram)
    most = np.quantile(np.abs(shown[~np.eye(len(shown), dtype=bool)]), 0.99)
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    middles = starts + counts / 2 - 0.5
    names = [str(label) for label in classes]
    axes.set_xticks(middles, names)
    axes.set_yticks(middles, names, rotation="vertical", va="center")
    for edge in starts[1:] - 0.5:
        axes.axhline(edge, color="black", linewidth=0.5)
        axes.axvline(edge, color="black", linewidth=0.5)
    axes.tick_params(length=0)
    axes.set_xlabel("class of the column's image")
    axes.set_ylabel("class of the row's image")
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label="k(x, x'), as correlation", shrink=0.85)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
