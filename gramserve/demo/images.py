"""The images of the demo: 440 colour photographs of CIFAR-10, 32 x 32, of four classes.

They are the first ones of each class, from a copy that was once compressed as JPEG;
``tools/cifar.py`` took them.

References
----------
Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Images with the names of their classes, sorted by class."""

    train: NDArray[np.uint8]
    """(n, 32, 32, 3), red, green and blue."""
    train_labels: NDArray[np.str_]
    """(n,), for example "frog"."""
    test: NDArray[np.uint8]
    """(m, 32, 32, 3)."""
    test_labels: NDArray[np.str_]
    """(m,)."""


def load_images() -> Images:
    """Read the images that the package carries.

    Returns
    -------
    Images
        70 training and 40 test images of each of four classes.
    """
    with (
        resources.files("gramserve.demo").joinpath("cifar.npz").open("rb") as file,
        np.load(file) as arrays,
    ):
        classes = arrays["classes"]
        return Images(
            arrays["train"],
            classes[arrays["train_labels"]],
            arrays["test"],
            classes[arrays["test_labels"]],
        )
