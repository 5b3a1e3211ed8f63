import numpy as np
from matplotlib import pyplot as plt

from gramserve.demo.picture import save_picture


def test_a_picture_shows_the_matrix_and_closes_its_figure(tmp_path):
    labels = np.repeat([0, 1, 2], 4)
    gram = 0.5 + 0.4 * (labels[:, None] == labels) + 0.1 * np.eye(12)
    save_picture(gram, labels, "three classes", tmp_path / "gram.png")
    pixels = plt.imread(tmp_path / "gram.png")
    height, width = pixels.shape[:2]
    assert min(height, width) > 500
    # Blocks of equal classes are brighter than the others: look near two corners of the matrix.
    brightness = pixels[..., :3].mean(axis=2)
    top = brightness[int(0.15 * height)]
    assert top[int(0.15 * width)] > top[int(0.6 * width)]
    assert plt.get_fignums() == []
