"""Gradient descent in closed form, against gradient descent that is really done."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp

import gramserve as gs
from gramserve.errors import InvalidDataError, ShapeError, SpecError, UnsupportedDtypeError
from gramserve.learn import GradientDescent

RNG = np.random.default_rng(0)
TIMES = [0.0, 0.3, 2.0, 40.0]


class SmallNetwork:
    """``f(x) = v relu(W x / sqrt(D)) / sqrt(width)`` with its Jacobian, written out."""

    def __init__(self, length, width, seed):
        generator = np.random.default_rng(seed)
        self.first = generator.normal(size=(width, length))
        self.last = generator.normal(size=width)

    def outputs(self, x):
        return np.maximum(self._hidden(x), 0) @ self.last / np.sqrt(len(self.last))

    def jacobian(self, x):
        """(items, parameters): first ``df/dW`` row by row, then ``df/dv``."""
        hidden, width = self._hidden(x), np.sqrt(len(self.last))
        open_units = (hidden > 0) * self.last / width
        by_first = open_units[:, :, None] * x[:, None, :] / np.sqrt(x.shape[1])
        return np.hstack([by_first.reshape(len(x), -1), np.maximum(hidden, 0) / width])

    def _hidden(self, x):
        return x @ self.first.T / np.sqrt(x.shape[1])


@pytest.fixture(scope="module")
def linearised():
    """(Jacobian, Jacobian of tests, initial outputs of both, targets) of a small network."""
    network, x, x_new = SmallNetwork(4, 30, 1), RNG.normal(size=(9, 4)), RNG.normal(size=(5, 4))
    step, parameter = 1e-6, 7
    # The Jacobian by hand is that of the network.
    moved = SmallNetwork(4, 30, 1)
    moved.first.ravel()[parameter] += step
    slope = (moved.outputs(x) - network.outputs(x)) / step
    np.testing.assert_allclose(network.jacobian(x)[:, parameter], slope, atol=1e-6)
    jacobians = network.jacobian(x), network.jacobian(x_new)
    return *jacobians, network.outputs(x), network.outputs(x_new), RNG.normal(size=9)


@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_steps_are_those_of_the_linearised_network(linearised, loss):
    jacobian, jacobian_new, start, start_new, targets = linearised
    descent = GradientDescent(
        jacobian @ jacobian.T, targets, initial=start, learning_rate=0.05, loss=loss
    )
    rate = 0.05 / (len(targets) if loss == "mean" else 1)
    counts = [0, 1, 2, 30, 500]
    change, known = np.zeros(jacobian.shape[1]), {}
    for count in range(501):
        if count in counts:
            known[count] = start + jacobian @ change, start_new + jacobian_new @ change
        change -= rate * jacobian.T @ (start + jacobian @ change - targets)
    train = descent.predict(steps=counts)
    test = descent.predict(jacobian_new @ jacobian.T, steps=counts, initial=start_new)
    assert test.shape == (5, 5)
    for place, count in enumerate(counts):
        np.testing.assert_allclose(train[place], known[count][0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(test[place], known[count][1], rtol=1e-10, atol=1e-12)


def test_continuous_time_is_the_flow_of_the_parameters(linearised):
    jacobian, jacobian_new, start, start_new, targets = linearised
    flow = solve_ivp(
        lambda _, change: -0.7 * jacobian.T @ (start + jacobian @ change - targets),
        (0, TIMES[-1]),
        np.zeros(jacobian.shape[1]),
        t_eval=TIMES,
        rtol=1e-9,
        atol=1e-11,
    )
    descent = GradientDescent(jacobian @ jacobian.T, targets, initial=start, learning_rate=0.7)
    test = descent.predict(jacobian_new @ jacobian.T, time=TIMES, initial=start_new)
    train = descent.predict(time=TIMES)
    for place, change in enumerate(flow.y.T):
        np.testing.assert_allclose(train[place], start + jacobian @ change, atol=1e-7)
        np.testing.assert_allclose(test[place], start_new + jacobian_new @ change, atol=1e-7)


def test_small_steps_become_the_flow(linearised):
    gram, targets = linearised[0] @ linearised[0].T, linearised[-1]
    flow = GradientDescent(gram, targets).predict(time=2.0)
    errors = [
        np.abs(GradientDescent(gram, targets, learning_rate=2.0 / n).predict(steps=n) - flow).max()
        for n in (400, 800, 1600)
    ]
    assert all(0.45 < b / a < 0.55 for a, b in itertools.pairwise(errors))


def real_gram(kernel):
    with np.load(Path(__file__).parents[2] / "data" / "mnist_200.npz") as data:
        x, labels = data["images"][:60].reshape(60, -1) / 255.0, data["labels"][:60]
    spec = gs.parse_kernel({"preset": "fc", "depth": 2, "kernel": kernel})
    gram = gs.compute_gram(x, kernel=spec, precision="float64", engine="reference")
    return gram[:40, :40], gram[40:, :40], np.eye(10)[labels[:40]], labels[40:]


def test_the_tangent_kernel_of_images_learns_ten_outputs():
    gram, rows, targets, labels = real_gram("ntk")
    descent = GradientDescent(gram, targets - 0.1, loss="mean", learning_rate=1.0)
    late = np.inf
    found = descent.predict(rows, time=[1.0, 100.0, late])
    assert found.shape == (3, 20, 10)
    ridgeless = rows @ scipy.linalg.solve(gram, targets - 0.1, assume_a="pos")
    np.testing.assert_allclose(found[-1], ridgeless, atol=1e-9)
    np.testing.assert_array_equal(descent.predict(rows), found[-1])
    np.testing.assert_allclose(descent.predict(), targets - 0.1, atol=1e-9)
    exact = rows @ np.linalg.solve(
        gram, (targets - 0.1) - scipy.linalg.expm(-100 / 40 * gram) @ (targets - 0.1)
    )
    np.testing.assert_allclose(found[1], exact, atol=1e-9)
    assert (found[-1].argmax(axis=1) == labels).mean() > 0.5
    errors = [np.square(descent.predict(time=t) - targets + 0.1).sum() for t in (0, 1, 10, 100)]
    assert errors == sorted(errors, reverse=True)


def test_directions_of_no_kernel_are_never_learned():
    features, new = RNG.normal(size=(8, 3)), RNG.normal(size=(4, 3))
    targets = RNG.normal(size=(8, 2))
    descent = GradientDescent(features @ features.T, targets)
    assert descent.rank == 3
    assert np.count_nonzero(descent.eigenvalues) == 3
    weights = np.linalg.lstsq(features, targets)[0]
    np.testing.assert_allclose(descent.predict(new @ features.T), new @ weights, atol=1e-12)
    np.testing.assert_allclose(descent.predict(), features @ weights, atol=1e-12)
    nothing = GradientDescent(np.zeros((2, 2)), [1.0, 2.0])
    assert nothing.max_learning_rate == np.inf
    np.testing.assert_array_equal(nothing.predict(np.ones((3, 2))), np.zeros(3))


def test_slow_directions_keep_their_digits():
    descent = GradientDescent(np.diag([1.0, 1e-12]), [1.0, 1.0])
    slow = 1e-12 * np.array([1e-3, 1.0])
    assert descent.predict(time=[1e-3, 1.0])[:, 1] == pytest.approx(slow, rel=1e-9)
    assert descent.predict([[0.0, 1.0]], time=1e-3)[0] == pytest.approx(1e-3, rel=1e-9)
    assert GradientDescent(np.diag([0.1, 1e-12]), [1, 1]).predict(steps=1)[1] == pytest.approx(
        1e-12, rel=1e-9
    )


@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_steps_that_diverge_are_refused_and_smaller_ones_converge(loss):
    gram = np.diag([4.0, 1.0])
    limit = GradientDescent(gram, [1.0, 1.0], loss=loss).max_learning_rate
    assert limit == (1.0 if loss == "mean" else 0.5)
    stable = GradientDescent(gram, [1.0, 1.0], loss=loss, learning_rate=0.98 * limit)
    assert stable.predict(steps=2000) == pytest.approx([1.0, 1.0])
    diverging = GradientDescent(gram, [1.0, 1.0], loss=loss, learning_rate=limit)
    with pytest.raises(SpecError, match=r"diverge.* = 0\.5|diverge.* = 1"):
        diverging.predict(steps=1)
    assert diverging.predict(time=1e3) == pytest.approx([1.0, 1.0])


def test_shapes_follow_targets_and_times():
    descent = GradientDescent(np.eye(3), np.ones((3, 2)))
    rows = np.ones((4, 3))
    assert descent.predict(rows).shape == (4, 2)
    assert descent.predict(rows, time=[1]).shape == (1, 4, 2)
    assert descent.predict(rows, steps=np.array([], int)).shape == (0, 4, 2)
    assert GradientDescent(np.eye(3), [1, 2, 3]).predict(rows[:0], time=[1, 2]).shape == (2, 0)


@pytest.mark.parametrize(
    ("gram", "targets", "options", "kind", "words"),
    [
        (np.ones((2, 3)), [1, 2], {}, ShapeError, r"\(2, 3\).*square"),
        (np.zeros((0, 0)), [], {}, InvalidDataError, "no items"),
        ([[1, 2], [3, 4]], [1, 2], {}, InvalidDataError, r"not symmetric: \[0, 1\] is 2"),
        ([[1, 2], [2, 1]], [1, 2], {}, InvalidDataError, "eigenvalue -1"),
        ([[np.nan, 0], [0, 1]], [1, 2], {}, InvalidDataError, r"first at \[0, 0\]"),
        (np.eye(2) * 1j, [1, 2], {}, UnsupportedDtypeError, "complex128"),
        (np.eye(2), [1, 2, 3], {}, ShapeError, r"targets have shape \(3,\)"),
        (np.eye(2), [1, np.inf], {}, InvalidDataError, "targets hold"),
        (np.eye(2), [1, 2], {"initial": [[1], [2]]}, ShapeError, r"not \(2,\) as targets"),
        (np.eye(2), [1, 2], {"learning_rate": 0}, SpecError, "must be positive, got 0"),
        (np.eye(2), [1, 2], {"learning_rate": np.nan}, SpecError, "must be positive"),
        (np.eye(2), [1, 2], {"loss": "meen"}, SpecError, "did you mean 'mean'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(gram, targets, options, kind, words):
    with pytest.raises(kind, match=words):
        GradientDescent(gram, targets, **options)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"time": -1}, SpecError, "not be negative, got -1"),
        ({"time": [1, np.nan]}, SpecError, "not be negative, got nan"),
        ({"time": [[1]]}, SpecError, "a number or a list"),
        ({"time": "late"}, SpecError, "real numbers"),
        ({"steps": -1}, SpecError, "not be negative, got -1"),
        ({"steps": 1.5}, SpecError, "integers, got float64"),
        ({"time": 1, "steps": 1}, SpecError, "one of them"),
        ({"rows": np.ones((4, 3))}, ShapeError, r"\(4, 3\).*2 training items"),
        ({"rows": [[np.inf, 1]]}, InvalidDataError, "rows hold"),
        ({"rows": np.ones((3, 2))}, SpecError, "need theirs too"),
        ({"rows": np.ones((3, 2)), "initial": [1, 2]}, ShapeError, "3 items need"),
        ({"initial": [1, 2]}, SpecError, "known already"),
    ],
)
def test_predictions_that_cannot_be_made_are_refused(options, kind, words):
    descent = GradientDescent(np.eye(2) / 10, [1.0, 2.0], initial=[0.5, 0.5])
    with pytest.raises(kind, match=words):
        descent.predict(**options)


def test_a_float32_matrix_may_have_the_negative_eigenvalues_of_its_rounding():
    features = RNG.normal(size=(30, 4)).astype(np.float32)
    gram = features @ features.T
    assert np.linalg.eigvalsh(gram.astype(float)).min() < -1e-8
    assert GradientDescent(gram, np.ones(30)).rank == 4
