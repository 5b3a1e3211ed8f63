"""Make the colour images that the demo and the tests carry, once, from all of CIFAR-10.

::

    python tools/cifar.py cifar10_jpeg.tar.xz

The archive holds ``train/CLASS/NNNN.jpg`` and ``test/CLASS/NNNN.jpg``: the 60 000 images, each
compressed as JPEG. Which of them are taken is fixed here, always the first ones of a class, so that
the same archive gives the same pixels. Needs Pillow, which nothing else in this project does.

References
----------
Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import argparse
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
"""In the order of CIFAR-10: the label of a class is its place here."""

DEMO_CLASSES = ("airplane", "automobile", "frog", "horse")
DEMO_TRAIN, DEMO_TEST = 70, 40
"""Images of each class."""

TEST_DATA = 20
"""Images of each class in ``tests/data``."""


def read(archive: Path) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Return the first images of every class, (n, 32, 32, 3), by part and class."""
    most = max(DEMO_TRAIN, DEMO_TEST, TEST_DATA)
    wanted = {
        f"{part}/{name}/{index:04}.jpg"
        for part in ("train", "test")
        for name in CLASSES
        for index in range(most)
    }
    images = {}
    with tarfile.open(archive) as files:
        for member in files:
            if member.name in wanted:
                with Image.open(files.extractfile(member)) as image:
                    images[member.name] = np.asarray(image.convert("RGB"))
    if missing := sorted(wanted - set(images)):
        msg = f"{archive} lacks {len(missing)} of {len(wanted)} images, the first is {missing[0]}"
        raise SystemExit(msg)
    return {
        (part, name): np.stack([images[f"{part}/{name}/{index:04}.jpg"] for index in range(most)])
        for part in ("train", "test")
        for name in CLASSES
    }


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description="Make the colour images of demo and tests.")
    parser.add_argument("archive", type=Path)
    images = read(parser.parse_args().archive)

    numbers = [CLASSES.index(name) for name in DEMO_CLASSES]
    np.savez_compressed(
        ROOT / "gramserve" / "demo" / "cifar.npz",
        train=np.concatenate([images["train", name][:DEMO_TRAIN] for name in DEMO_CLASSES]),
        train_labels=np.repeat(numbers, DEMO_TRAIN).astype(np.uint8),
        test=np.concatenate([images["test", name][:DEMO_TEST] for name in DEMO_CLASSES]),
        test_labels=np.repeat(numbers, DEMO_TEST).astype(np.uint8),
        classes=np.array(CLASSES),
    )
    # One of each class in turn: also the first n are balanced.
    mixed = np.stack([images["test", name][:TEST_DATA] for name in CLASSES], axis=1)
    np.savez_compressed(
        ROOT / "tests" / "data" / "cifar_200.npz",
        images=mixed.reshape(-1, 32, 32, 3),
        labels=np.tile(np.arange(len(CLASSES), dtype=np.uint8), TEST_DATA),
    )


if __name__ == "__main__":
    main()
