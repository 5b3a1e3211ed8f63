"""Kernel ridge regression on a Gram matrix, with scikit-learn's precomputed kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-4
"""Regularisation, relative to the mean of the diagonal."""


@dataclass(frozen=True)
class Score:
    """How well the labels of the test images were predicted."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """Correct over total."""
        return self.correct / self.total


def score_ridge(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    test_labels: NDArray[Any],
) -> Score:
    """Fit kernel ridge regression to labels and predict those of test images.

    Parameters
    ----------
    train : ndarray, (n, n)
        Gram matrix of the training images.
    train_labels : ndarray of int, (n,)
        Their classes.
    test : ndarray, (m, n)
        Kernel rows of the test images against the training images.
    test_labels : ndarray of int, (m,)
        Their classes.

    Returns
    -------
    Score
        Test accuracy.
    """
    from sklearn.kernel_ridge import KernelRidge  # noqa: PLC0415 - an extra

    classes = np.unique(train_labels)
    targets = (train_labels[:, None] == classes) - 1 / len(classes)
    ridge = KernelRidge(alpha=_RIDGE * np.trace(train) / len(train), kernel="precomputed")
    ridge.fit(train.astype(np.float64), targets)
    predicted = classes[ridge.predict(test.astype(np.float64)).argmax(axis=1)]
    return Score(int((predicted == test_labels).sum()), len(test_labels))
