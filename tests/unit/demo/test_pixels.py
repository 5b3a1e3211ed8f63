import numpy as np

from gramserve.demo.pixels import standardise, whiten


def smooth(count, seed):
    """Images of 8 x 8 with three channels; neighbouring pixels and channels are much alike."""
    noise = np.random.default_rng(seed).normal(size=(count, 10, 10, 3))
    near = sum(noise[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    return near + near.mean(axis=-1, keepdims=True)


def neighbours(x):
    """Correlation of pixels with those below, and of the first channel with the second."""
    below = (x[:, 1:] * x[:, :-1]).mean() / (x**2).mean()
    colour = (x[..., 0] * x[..., 1]).mean() / (x**2).mean()
    return np.array([below, colour])


def test_standardised_images_do_not_depend_on_brightness_and_contrast():
    dark = np.random.default_rng(0).integers(0, 60, size=(5, 8, 8, 3), dtype=np.uint8)
    found = standardise(dark)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(standardise(dark * np.uint8(3) + np.uint8(40)), found, atol=1e-5)


def test_whitened_images_have_unrelated_neighbours_and_mean_square_one():
    train, test = smooth(400, 1), smooth(400, 2)
    assert (neighbours(test) > 0.4).all()
    white, white_test = whiten(train, test)
    assert white.dtype == white_test.dtype == np.float32
    np.testing.assert_allclose((white**2).mean(), 1, rtol=1e-5)
    np.testing.assert_allclose((white_test**2).mean(), 1, rtol=0.1)
    assert (np.abs(neighbours(white_test)) < 0.35).all()


def test_whitening_is_one_symmetric_linear_map():
    train, units = smooth(50, 3), np.eye(8 * 8 * 3).reshape(-1, 8, 8, 3)
    matrix = whiten(train, units)[1].reshape(len(units), -1)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert np.linalg.eigvalsh(matrix).min() > 0
    test = smooth(6, 4)
    expected = test.reshape(6, -1) @ matrix
    np.testing.assert_allclose(whiten(train, test)[1].reshape(6, -1), expected, atol=1e-4)


def test_test_images_decide_nothing():
    train = smooth(30, 5)
    one, other = whiten(train, smooth(9, 6)), whiten(train, 100 * smooth(4, 7))
    assert np.array_equal(one[0], other[0])
    alone = whiten(train, smooth(9, 6)[:1])[1]
    np.testing.assert_allclose(alone, one[1][:1], atol=1e-6)
