"""Gradient descent of a model that is linear in its parameters, in closed form."""

from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import InvalidDataError, SpecError
from gramserve.learn.arrays import (
    fault,
    read_gram,
    read_outputs,
    read_rows,
    read_steps,
    read_times,
)
from gramserve.spec.names import nearest

Loss = Literal["sum", "mean"]
"""``1/2 sum_i |f(x_i) - y_i|^2``, or that divided by the number N of items."""

LOSSES: tuple[Loss, ...] = ("sum", "mean")
"""The losses, the default first."""

Array = NDArray[np.float64]


class GradientDescent:
    """Predictions during and after gradient descent on the squared error, from a Gram matrix.

    ``f_t(x) = f_0(x) + k(x, X) K^-1 (I - exp(-eta t K)) (y - f_0(X))``

    With the NTK of a wide network as kernel, these are the outputs of that network in training,
    up to terms that vanish with its width. One eigendecomposition serves all times; every output
    is learned by itself.

    Parameters
    ----------
    gram : array_like, (N, N)
        Kernel of the training items: symmetric, positive semi-definite. A matrix on a server
        (:class:`gramserve.Gram`) is fetched.
    targets : array_like, (N,) or (N, outputs)
        y.
    initial : array_like, same shape, optional
        ``f_0(X)``, outputs before training; 0 when not given, which is their mean over random
        networks.
    learning_rate : float
        eta; positive. It scales time, and is the step of discrete descent.
    loss : {"sum", "mean"}
        "sum" is ``1/2 sum_i |f(x_i) - y_i|^2``; "mean" divides it by N, and so eta by N.

    Raises
    ------
    ShapeError
        When the matrix is not square or lengths differ.
    InvalidDataError
        When numbers are not finite, or the matrix is not symmetric or not positive
        semi-definite.
    SpecError
        When the learning rate is not positive or the loss is not known.

    Notes
    -----
    Computed in float64: O(N^3) operations and 3 N^2 numbers once, then O(m N^2) for m rows.
    Eigenvalues below ``N eps lambda_max`` count as zero, eps being that of the matrix' dtype:
    what lies in those directions is not learned.

    Neural Tangents' ``gradient_descent_mse`` divides by N times the number of outputs: take
    "mean" and a learning rate divided by that number.

    References
    ----------
    Jacot et al., "Neural Tangent Kernel", NeurIPS 2018. Lee et al., "Wide Neural Networks of Any
    Depth Evolve as Linear Models Under Gradient Descent", NeurIPS 2019, section 2.2.

    Examples
    --------
    >>> descent = GradientDescent([[2.0, 0.0], [0.0, 0.0]], [1.0, 1.0])
    >>> descent.predict(time=[0.0, np.inf]).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """

    def __init__(
        self,
        gram: ArrayLike,
        targets: ArrayLike,
        *,
        initial: ArrayLike | None = None,
        learning_rate: float = 1.0,
        loss: Loss = "sum",
    ) -> None:
        matrix, eps = read_gram(gram)
        if loss not in LOSSES:
            raise fault(SpecError, "loss", f"loss {loss!r} is not known{nearest(loss, LOSSES)}")
        if not 0 < learning_rate < np.inf:
            raise fault(
                SpecError, "learning_rate", f"learning_rate must be positive, got {learning_rate}"
            )
        outputs = read_outputs("targets", targets, len(matrix))
        self._initial = (
            np.zeros_like(outputs)
            if initial is None
            else read_outputs("initial", initial, len(matrix), outputs.shape[1:])
        )
        self._starts_at_zero = initial is None
        values, self._vectors = scipy.linalg.eigh(matrix)
        threshold = len(matrix) * eps * np.abs(values).max()
        if values[0] < -threshold:
            raise fault(
                InvalidDataError,
                "gram",
                f"the Gram matrix has the eigenvalue {values[0]:.3g}, beyond rounding of "
                f"{threshold:.3g}: it is not positive semi-definite; compute it in float64",
            )
        self._values: Array = np.where(values > threshold, values, 0.0)
        # One column for every output; the shape of one item's outputs is kept for the way out.
        self._outputs = outputs.shape[1:]
        residual = (outputs - self._initial).reshape(len(matrix), -1)
        self._residual: Array = self._vectors.T @ residual
        self._rate = learning_rate / (len(matrix) if loss == "mean" else 1)
        self._factor = len(matrix) if loss == "mean" else 1

    @property
    def rank(self) -> int:
        """Directions that are learned: eigenvalues that are not zero."""
        return int(np.count_nonzero(self._values))

    @property
    def eigenvalues(self) -> Array:
        """(N,), ascending; those that are rounding are 0."""
        return self._values.copy()

    @property
    def max_learning_rate(self) -> float:
        """``2 / lambda_max`` (times N for "mean"): discrete descent diverges from there on."""
        largest = self._values[-1]
        return float(2 * self._factor / largest) if largest else float("inf")

    def predict(
        self,
        rows: ArrayLike | None = None,
        *,
        time: ArrayLike | None = None,
        steps: ArrayLike | None = None,
        initial: ArrayLike | None = None,
    ) -> Array:
        """Return outputs after some time, after some steps, or in the end.

        Parameters
        ----------
        rows : array_like, (m, N), optional
            Kernel of other items with the training items; these themselves when not given.
        time : float or array_like of float, (T,), optional
            Times of continuous descent, not negative; infinity is its limit, kernel regression
            without a ridge. Without time and steps, that limit.
        steps : int or array_like of int, (T,), optional
            Steps of discrete descent instead: ``I - (I - eta K)^s`` in place of the exponential.
        initial : array_like, (m,) or (m, outputs), optional
            ``f_0`` of these items. Needed with ``rows`` if the training items have one.

        Returns
        -------
        ndarray of float64, (m,) or (m, outputs); (T, ...) for T times or steps
            Shaped like the targets.

        Raises
        ------
        SpecError
            When time or steps are negative, both are given, the steps diverge, or initial
            outputs are missing.
        ShapeError, InvalidDataError
            When the rows or the initial outputs do not fit or are not finite.
        """
        if time is not None and steps is not None:
            raise fault(SpecError, "steps", "time and steps: give one of them")
        if steps is not None:
            shape, learned = self._after_steps(steps)
        else:
            shape, learned = self._after_times(np.inf if time is None else time)
        before, basis = self._start(rows, initial)
        result = np.empty((len(learned), len(basis), *self._outputs))
        for place, progress in enumerate(learned):
            change = basis @ (progress[:, None] * self._residual)
            result[place] = before + change.reshape(before.shape)
        return result.reshape(*shape, *result.shape[1:])

    def _after_times(self, time: ArrayLike) -> tuple[tuple[int, ...], list[Array]]:
        """Return the shape of the times and ``1 - exp(-eta t lambda)`` at each, (N,)."""
        times = read_times(time)
        learned = []
        for moment in times.ravel():
            if np.isinf(moment):
                learned.append(np.where(self._values > 0, 1.0, 0.0))
            else:
                learned.append(-np.expm1(-self._rate * moment * self._values))
        return times.shape, learned

    def _after_steps(self, steps: ArrayLike) -> tuple[tuple[int, ...], list[Array]]:
        """Return the shape of the steps and ``1 - (1 - eta lambda)^s`` at each, (N,)."""
        counts = read_steps(steps)
        eta, limit = self._rate * self._factor, self.max_learning_rate
        if eta >= limit:
            raise fault(
                SpecError,
                "learning_rate",
                f"steps of learning_rate {eta:.6g} diverge, from 2 / lambda_max = {limit:.6g} on; "
                "take a smaller one",
            )
        shrink = self._rate * self._values
        # Where 1 - eta lambda is not negative, expm1 keeps the digits of small progress.
        slow = shrink < 1
        logarithm = np.log1p(-np.where(slow, shrink, 0.0))
        learned = [
            np.where(slow, -np.expm1(count * logarithm), 1 - (1 - shrink) ** count)
            for count in counts.ravel()
        ]
        return counts.shape, learned

    def _start(self, rows: ArrayLike | None, initial: ArrayLike | None) -> tuple[Array, Array]:
        """Return outputs before training, and what the learned components are multiplied with.

        ``k(x, X) V / lambda``, with 0 for directions that are not learned; V for the training
        items themselves.
        """
        learned = self._values > 0
        if rows is None:
            if initial is not None:
                raise fault(
                    SpecError, "initial", "initial outputs of the training items are known already"
                )
            return self._initial, self._vectors * learned
        matrix = read_rows(rows, len(self._values))
        if initial is None:
            if not self._starts_at_zero:
                raise fault(
                    SpecError,
                    "initial",
                    "the training items have initial outputs; these items need theirs too",
                )
            before = np.zeros((len(matrix), *self._outputs))
        else:
            before = read_outputs("initial", initial, len(matrix), self._outputs)
        inverse = np.divide(1.0, self._values, out=np.zeros_like(self._values), where=learned)
        return before, (matrix @ self._vectors) * inverse
