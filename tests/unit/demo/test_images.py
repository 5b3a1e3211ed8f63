import numpy as np

from gramserve.demo.images import load_digits


def test_the_package_carries_500_different_digits_of_ten_classes():
    digits = load_digits()
    assert digits.train.shape == (300, 14, 14, 1)
    assert digits.test.shape == (200, 14, 14, 1)
    everything = np.concatenate([digits.train, digits.test])
    assert everything.dtype == np.float32
    assert everything.min() == 0
    assert 0.9 < everything.max() <= 1
    assert len(np.unique(everything.reshape(500, -1), axis=0)) == 500


def test_every_class_has_as_many_images_and_the_order_is_that_of_the_classes():
    digits = load_digits()
    assert digits.train_labels.tolist() == np.repeat(range(10), 30).tolist()
    assert digits.test_labels.tolist() == np.repeat(range(10), 20).tolist()
