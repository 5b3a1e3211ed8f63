"""The images of the demo: 500 handwritten digits of the MNIST test set.

References
----------
LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Digits:
    """Images with their labels, sorted by class."""

    train: NDArray[np.float32]
    """(300, 14, 14, 1), 0 to 1."""
    train_labels: NDArray[np.uint8]
    test: NDArray[np.float32]
    """(200, 14, 14, 1), 0 to 1."""
    test_labels: NDArray[np.uint8]


def _shrink(images: NDArray[np.uint8]) -> NDArray[Any]:
    """Average 2 x 2 pixels: the reference engine's time grows with the fourth power of the side."""
    halves = images.reshape(len(images), 14, 2, 14, 2).mean(axis=(2, 4))
    return (halves / 255).astype(np.float32)[..., None]


def load_digits() -> Digits:
    """Read the images that the package carries.

    Returns
    -------
    Digits
        30 training and 20 test images of every class.
    """
    with (
        resources.files("gramserve.demo").joinpath("digits.npz").open("rb") as file,
        np.load(file) as arrays,
    ):
        return Digits(
            _shrink(arrays["train"]),
            arrays["train_labels"],
            _shrink(arrays["test"]),
            arrays["test_labels"],
        )
