"""Statistics of a data set that is seen one run of rows at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Mean and variance of every column.

    Runs are merged by their means and sums of squared deviations, so that nothing is lost where
    the mean is large beside the deviations.

    Parameters
    ----------
    columns : int
        How many columns there are.

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983.
    """

    def __init__(self, columns: int) -> None:
        self._count = 0
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._low = np.full(columns, np.inf)
        self._high = np.full(columns, -np.inf)

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take in some rows.

        Parameters
        ----------
        rows : ndarray of float64, (n, columns)
            At least one.
        """
        mean = rows.mean(axis=0)
        total, distance = self._count + len(rows), mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(axis=0)
        self._squares += distance**2 * (self._count * len(rows) / total)
        self._mean += distance * (len(rows) / total)
        self._count = total
        np.minimum(self._low, rows.min(axis=0), out=self._low)
        np.maximum(self._high, rows.max(axis=0), out=self._high)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(columns,); of a constant column that constant, without rounding."""
        return np.where(self._low == self._high, self._low, self._mean)

    @property
    def variance(self) -> NDArray[np.float64]:
        """(columns,), divided by the number of rows; of a constant column exactly 0."""
        return np.where(self._low == self._high, 0.0, self._squares / self._count)


class SecondMoments:
    """The matrix ``X' X / n`` of rows ``x - m``.

    Parameters
    ----------
    mean : ndarray of float64, (columns,)
        ``m``, subtracted from every row.
    """

    def __init__(self, mean: NDArray[np.float64]) -> None:
        self._mean = mean
        self._count = 0
        self._sum = np.zeros((len(mean), len(mean)))

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take in some rows.

        Parameters
        ----------
        rows : ndarray of float64, (n, columns)
            At least one.
        """
        centred = rows - self._mean
        self._sum += centred.T @ centred
        self._count += len(rows)

    def take(self) -> NDArray[Any]:
        """Return the matrix, (columns, columns) of float64; nothing can be added afterwards."""
        self._sum /= self._count
        return self._sum
