import numpy as np
import pytest

from gramserve.demo.baselines import gaussian, linear


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return random.normal(size=(6, 4, 4, 3)), random.normal(size=(3, 4, 4, 3))


def test_the_linear_kernel_is_the_inner_product_of_pixels(images):
    train, test = images
    ((gram, rows),) = linear(train, test)
    assert gram[1, 4] == pytest.approx((train[1] * train[4]).sum())
    assert rows.shape == (3, 6)
    assert rows[2, 5] == pytest.approx((test[2] * train[5]).sum())


def test_gaussian_kernels_fall_with_the_distance_and_differ_in_width_alone(images):
    train, test = images
    found = list(gaussian(train, test))
    assert len(found) > 2
    ratios = []
    for gram, rows in found:
        np.testing.assert_allclose(gram.diagonal(), 1)
        width = -((train[1] - train[4]) ** 2).sum() / np.log(gram[1, 4])
        far = -((test[2] - train[5]) ** 2).sum() / np.log(rows[2, 5])
        assert far == pytest.approx(width)
        ratios.append(width)
    assert sorted(set(ratios)) == ratios
