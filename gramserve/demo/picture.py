"""A picture of a Gram matrix, sorted by class."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_picture(gram: NDArray[Any], labels: NDArray[Any], title: str, path: Path) -> None:
    """Draw a Gram matrix with its classes along the axes.

    Parameters
    ----------
    gram : ndarray, (n, n)
        Sorted by class.
    labels : ndarray of int, (n,)
        The classes.
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
    off_diagonal = gram[~np.eye(len(gram), dtype=bool)]
    image = axes.imshow(
        gram,
        cmap="magma",
        vmin=np.quantile(off_diagonal, 0.01),
        vmax=np.quantile(off_diagonal, 0.999),
        interpolation="nearest",
    )
    middles = starts + counts / 2 - 0.5
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks(middles, [str(label) for label in classes])
    for edge in starts[1:] - 0.5:
        axes.axhline(edge, color="white", linewidth=0.3, alpha=0.5)
        axes.axvline(edge, color="white", linewidth=0.3, alpha=0.5)
    axes.tick_params(length=0)
    axes.set_xlabel("class of the column's image")
    axes.set_ylabel("class of the row's image")
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label="k(x, x')", shrink=0.85)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
