import numpy as np
from matplotlib import pyplot as plt

from gramserve.demo.picture import correlations, save_picture


def test_correlations_have_nothing_in_common_left():
    random = np.random.default_rng(0)
    x = random.normal(size=(9, 4))
    far = x + 1000  # what all of them share hides how they differ
    found = correlations(far @ far.T)
    centred = x - x.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(found, centred @ centred.T / np.outer(lengths, lengths), atol=1e-6)


def test_a_picture_shows_the_matrix_and_closes_its_figure(tmp_path):
    labels = np.repeat(["cat", "dog", "frog"], 4)
    gram = 0.5 + 0.4 * (labels[:, None] == labels) + 0.1 * np.eye(12)
    save_picture(gram, labels, "three classes", tmp_path / "gram.png")
    pixels = plt.imread(tmp_path / "gram.png")
    height, width = pixels.shape[:2]
    assert min(height, width) > 500
    # Blocks of equal classes are red, the others blue: look near two corners of the matrix.
    warmth = pixels[..., 0] - pixels[..., 2]
    top = warmth[int(0.15 * height)]
    assert top[int(0.15 * width)] > 0 > top[int(0.6 * width)]
    assert plt.get_fignums() == []
