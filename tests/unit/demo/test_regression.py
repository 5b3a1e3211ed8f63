import numpy as np
import pytest

from gramserve.demo.regression import leave_one_out, score_ridge


def blobs(count, seed):
    """Points around three far-apart centres, and their classes 2, 5 and 7."""
    random = np.random.default_rng(seed)
    labels = np.repeat([2, 5, 7], count)
    centres = {2: (0.0, 4.0), 5: (4.0, -2.0), 7: (-4.0, -2.0)}
    points = np.array([centres[label] for label in labels])
    return points + random.normal(size=points.shape), labels


def test_leave_one_out_is_what_fitting_without_each_item_predicts():
    points, labels = blobs(4, 0)
    gram, targets = points @ points.T, np.eye(8)[labels]
    fitted = leave_one_out(gram, targets, 0.3)
    for item in range(len(points)):
        rest = np.delete(np.arange(len(points)), item)
        weights = np.linalg.solve(gram[np.ix_(rest, rest)] + 0.3 * np.eye(len(rest)), targets[rest])
        np.testing.assert_allclose(fitted[item], gram[item, rest] @ weights, atol=1e-10)


def test_separable_classes_are_predicted_with_their_own_labels():
    (train, train_labels), (test, test_labels) = blobs(20, 1), blobs(10, 2)
    score = score_ridge(train @ train.T, train_labels, test @ train.T, test_labels)
    assert score.total == 30
    assert score.accuracy == pytest.approx(score.correct / 30)
    assert score.correct >= 28


def test_labels_that_mean_nothing_are_predicted_by_chance():
    (train, train_labels), (test, test_labels) = blobs(100, 3), blobs(100, 4)
    shuffled = np.random.default_rng(5).permutation(train_labels)
    score = score_ridge(train @ train.T, shuffled, test @ train.T, test_labels)
    assert score.accuracy < 0.6


def test_the_test_labels_choose_nothing():
    (train, train_labels), (test, test_labels) = blobs(20, 6), blobs(20, 7)
    gram, rows = train @ train.T, test @ train.T
    score = score_ridge(gram, train_labels, rows, test_labels)
    other = score_ridge(gram, train_labels, rows, test_labels[::-1])
    assert (other.ridge, other.left_out) == (score.ridge, score.left_out)
    assert other.correct < score.correct


def test_left_out_counts_training_images_predicted_from_the_others():
    (train, train_labels), (test, test_labels) = blobs(8, 8), blobs(2, 9)
    gram = train @ train.T
    score = score_ridge(gram, train_labels, test @ train.T, test_labels)
    targets = np.eye(8)[train_labels] - 1 / 3
    ridge = score.ridge * np.trace(gram) / len(gram)
    fitted = leave_one_out(gram, targets, ridge)[:, [2, 5, 7]]
    assert score.left_out == (np.array([2, 5, 7])[fitted.argmax(axis=1)] == train_labels).sum()


def test_classes_may_have_names():
    (train, train_labels), (test, test_labels) = blobs(20, 1), blobs(10, 2)
    names = np.array(["", "", "owl", "", "", "ape", "", "cow"])
    gram, rows = train @ train.T, test @ train.T
    numbered = score_ridge(gram, train_labels, rows, test_labels)
    assert score_ridge(gram, names[train_labels], rows, names[test_labels]) == numbered
