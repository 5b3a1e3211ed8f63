from pathlib import Path

import numpy as np

from gramserve.demo.images import load_images

CLASSES = ["airplane", "automobile", "frog", "horse"]


def test_the_package_carries_440_different_colour_images():
    images = load_images()
    assert images.train.shape == (280, 32, 32, 3)
    assert images.test.shape == (160, 32, 32, 3)
    everything = np.concatenate([images.train, images.test])
    assert everything.dtype == np.uint8
    assert everything.min() == 0
    assert everything.max() == 255
    assert len(np.unique(everything.reshape(440, -1), axis=0)) == 440
    red, _, blue = np.moveaxis(everything.astype(int), -1, 0)
    assert np.abs(red - blue).mean() > 5


def test_every_class_has_as_many_images_and_the_order_is_that_of_the_classes():
    images = load_images()
    assert images.train_labels.tolist() == np.repeat(CLASSES, 70).tolist()
    assert images.test_labels.tolist() == np.repeat(CLASSES, 40).tolist()


def test_the_colour_images_of_the_tests_are_balanced_from_the_first_on():
    with np.load(Path(__file__).parents[2] / "data" / "cifar_200.npz") as data:
        images, labels = data["images"], data["labels"]
    assert images.shape == (200, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.tolist() == list(range(10)) * 20
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200
    # Both files have the first test images of a class: frogs are the seventh.
    assert np.array_equal(images[labels == 6], load_images().test[80:100])
