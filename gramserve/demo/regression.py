"""Kernel ridge regression on a Gram matrix, with scikit-learn's precomputed kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RIDGES = 10.0 ** np.arange(-6, 2)
"""Regularisations to choose from, relative to the mean of the diagonal."""


@dataclass(frozen=True)
class Score:
    """How well the labels of the test images were predicted."""

    correct: int
    total: int
    ridge: float
    """The regularisation chosen, relative to the mean of the diagonal."""
    left_out: int
    """Training images that were predicted rightly from all the others; what chooses."""

    @property
    def accuracy(self) -> float:
        """Correct over total."""
        return self.correct / self.total


def leave_one_out(
    gram: NDArray[np.float64], targets: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Predict every item by a ridge regression on all the others.

    ``y_i - [(K + r I)^-1 y]_i / [(K + r I)^-1]_ii``, one inverse for all of them.

    Parameters
    ----------
    gram : ndarray, (n, n)
        Gram matrix of the items.
    targets : ndarray, (n, classes)
        What is fitted.
    ridge : float
        ``r``.

    Returns
    -------
    ndarray, (n, classes)
        The predictions.

    References
    ----------
    Rifkin and Lippert, "Notes on Regularized Least Squares", 2007.
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    predicted: NDArray[np.float64] = targets - inverse @ targets / inverse.diagonal()[:, None]
    return predicted


def score_ridge(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    test_labels: NDArray[Any],
) -> Score:
    """Fit kernel ridge regression to labels and predict those of test images.

    The regularisation is the one that predicts most training images from all the others; the
    test images decide nothing.

    Parameters
    ----------
    train : ndarray, (n, n)
        Gram matrix of the training images.
    train_labels : ndarray, (n,)
        Their classes, as numbers or names.
    test : ndarray, (m, n)
        Kernel rows of the test images against the training images.
    test_labels : ndarray, (m,)
        Their classes.

    Returns
    -------
    Score
        Test accuracy.
    """
    from sklearn.kernel_ridge import KernelRidge  # noqa: PLC0415 - an extra

    gram = train.astype(np.float64)
    classes = np.unique(train_labels)
    targets = (train_labels[:, None] == classes) - 1 / len(classes)
    scale = np.trace(gram) / len(gram)

    def correct(ridge: float) -> int:
        guesses = classes[leave_one_out(gram, targets, ridge * scale).argmax(axis=1)]
        return int((guesses == train_labels).sum())

    # Of equally good ones the strongest.
    ridge = float(max(_RIDGES[::-1], key=correct))
    model = KernelRidge(alpha=ridge * scale, kernel="precomputed").fit(gram, targets)
    predicted = classes[model.predict(test.astype(np.float64)).argmax(axis=1)]
    return Score(int((predicted == test_labels).sum()), len(test_labels), ridge, correct(ridge))
