"""CIFAR-10 from images to accuracy: ZCA, a Gram matrix, kernel ridge regression.

::

    python tests/benchmarks/cifar_ridge.py --data cifar10_jpeg.tar.xz --train 10000 --test 2000

``--data`` is an archive or a directory of ``train/CLASS/NNNN.jpg`` and ``test/CLASS/NNNN.jpg``,
which needs Pillow, or an npz of uint8 ``train`` and ``test`` (n, 32, 32, 3) with ``train_labels``
and ``test_labels``; ``--convert FILE`` writes such an npz of the images that were asked for, for a
machine without Pillow. Beside that, NumPy, SciPy, Numba and pydantic are needed, and CuPy for a
card. As many images of each class are taken, the first ones of each.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020: the kernel, the preprocessing, and
the accuracy with all 50,000 training images.
"""

import argparse
import io
import sys
import tarfile
import time
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
# Not the directory of this file, where a module hides the package that is called cuda.
sys.path[:] = [str(TESTS.parent), *(p for p in sys.path if Path(p).name != "benchmarks")]

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
PUBLISHED = (
    "published: 90 % with all 50,000 training images (Shankar et al. 2020, abstract, their best "
    "compositional kernel); no figure for fewer images with this kernel is known here"
)
RIDGES = 10.0 ** np.arange(-7, 1)
"""To choose from, relative to the mean of the diagonal."""
BLOCK = 512
MEMORY = 2**32


def say(*words):
    """Print at once."""
    print(*words, flush=True)


def decode(data):
    """Return one image of a JPEG file, (32, 32, 3)."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def read_files(path, counts):
    """Return images by part, class and number from an archive or a directory."""
    wanted = {
        f"{part}/{name}/{index:04}.jpg"
        for part, count in counts.items()
        for name in CLASSES
        for index in range(count // len(CLASSES))
    }
    if path.is_dir():
        return {name: decode((path / name).read_bytes()) for name in wanted}
    with tarfile.open(path) as files:
        found = {}
        for member in files:
            if member.name.removeprefix("./") in wanted:
                found[member.name.removeprefix("./")] = decode(files.extractfile(member).read())
    if missing := sorted(wanted - set(found)):
        raise SystemExit(f"{path} lacks {len(missing)} of {len(wanted)} images: {missing[0]}, ...")
    return found


def load(path, counts):
    """Return images and labels of both parts, ``{part: (uint8, labels)}``, balanced."""
    if not path.exists():
        raise SystemExit(f"{path} is not there: name an archive, a directory or an npz by --data")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            parts = {part: (arrays[part], arrays[f"{part}_labels"]) for part in counts}
        return {part: balanced(*parts[part], count) for part, count in counts.items()}
    files = read_files(path, counts)
    return {
        part: (
            np.stack([
                files[f"{part}/{name}/{index:04}.jpg"]
                for index in range(count // len(CLASSES))
                for name in CLASSES
            ]),
            np.tile(np.arange(len(CLASSES)), count // len(CLASSES)),
        )
        for part, count in counts.items()
    }  # fmt: skip


def balanced(images, labels, count):
    """Return the first images of every class, as many of each."""
    each = count // len(CLASSES)
    places = [np.flatnonzero(labels == label)[:each] for label in range(len(CLASSES))]
    if min(map(len, places)) < each:
        raise SystemExit(f"there are fewer than {each} images of a class")
    chosen = np.stack(places, axis=1).reshape(-1)
    return images[chosen], labels[chosen]


def find_engine(name, spec, precision):
    """Return the engine of a name; "auto" takes a card where there is one."""
    from gramserve.arrays import cuda_unavailable
    from gramserve.kernels import choose_engine
    from gramserve.kernels.cuda import CudaEngine

    if name == "cuda" or (name == "auto" and cuda_unavailable() is None):
        engine = CudaEngine()
        refusal = engine.refusal(spec, precision)
        if refusal is None:
            return engine
        if name == "cuda":
            raise SystemExit(f"the engine cuda cannot run this: {refusal}")
    return choose_engine(spec, precision, name)[0]


def blocks(rows, columns, is_symmetric):
    """Yield the corners of blocks; of a symmetric matrix those on and above the diagonal."""
    for low in range(0, rows, BLOCK):
        for left in range(low if is_symmetric else 0, columns, BLOCK):
            yield slice(low, low + BLOCK), slice(left, left + BLOCK)


def compute(engine, spec, rows, columns, precision):
    """Return the kernel of all rows with all columns, telling how it goes on."""
    from gramserve.machine import usable_cores

    gram = np.empty((len(rows), len(columns)), np.float32)
    both = rows is columns
    parts = list(blocks(*gram.shape, both))
    began = told = time.perf_counter()
    for number, (down, across) in enumerate(parts, 1):
        (values,) = engine.evaluate(
            spec,
            rows[down],
            columns[across],
            precision,
            memory_bytes=MEMORY,
            threads=usable_cores(),
        ).values()
        gram[down, across] = values
        if both:
            gram[across, down] = values.T
        if time.perf_counter() - told > 10 or number == len(parts):
            told = time.perf_counter()
            say(f"  {number} of {len(parts)} blocks, {told - began:.0f} s")
    return gram


def score(train, labels, test, test_labels):
    """Return test accuracy of ridge regression, and the ridge that leave-one-out chose.

    ``V diag(e) V'`` is the training matrix; what is predicted of an item from all the others is
    ``y_i - [(K + r)^-1 y]_i / [(K + r)^-1]_ii`` (Rifkin and Lippert 2007).
    """
    from scipy.linalg import eigh

    values, vectors = eigh(train.astype(np.float64))
    values = np.maximum(values, 0)
    targets = np.eye(len(CLASSES))[labels] - 1 / len(CLASSES)
    turned, squares = vectors.T @ targets, vectors**2
    scale = np.trace(train) / len(train)

    def weights(ridge):
        return vectors @ (turned / (values + ridge * scale)[:, None])

    def left_out(ridge):
        held = targets - weights(ridge) / (squares @ (1 / (values + ridge * scale)))[:, None]
        return (held.argmax(axis=1) == labels).mean()

    ridge = max(RIDGES[::-1], key=left_out)
    predicted = (test.astype(np.float64) @ weights(ridge)).argmax(axis=1)
    return float((predicted == test_labels).mean()), float(ridge), float(left_out(ridge))


def main(given):
    """Run from files to accuracy; return the accuracy."""
    from gramserve.kernels import Items, item_keys
    from gramserve.machine import usable_cores
    from gramserve.preprocessing import fit_recipe
    from gramserve.spec import parse_kernel

    counts = {"train": given.train, "test": given.test}
    if any(count < len(CLASSES) or count % len(CLASSES) for count in counts.values()):
        raise SystemExit("--train and --test are multiples of 10: as many images of each class")
    parts = load(given.data, counts)
    if given.convert:
        arrays = {part: images for part, (images, _) in parts.items()}
        np.savez(given.convert, **arrays, **{f"{p}_labels": each[1] for p, each in parts.items()})
        say(f"wrote {given.convert}")
        return None
    spec = parse_kernel(given.kernel)
    engine = find_engine(given.engine, spec, given.precision)
    say(f"{given.kernel} of {given.train} and {given.test} images, {engine.name}, {engine.device}")
    fitted = fit_recipe(parts["train"][0], given.recipe)
    items = {}
    for part, (images, _) in parts.items():
        x = fitted.apply(images)
        limits = {"memory_bytes": MEMORY, "threads": usable_cores()}
        variances = engine.variances(spec, x, "float64", **limits)
        items[part] = Items(x, variances, item_keys(x))
    began = time.perf_counter()
    train = compute(engine, spec, items["train"], items["train"], given.precision)
    test = compute(engine, spec, items["test"], items["train"], given.precision)
    pairs = given.train * (given.train + 1) // 2 + given.train * given.test
    taken = time.perf_counter() - began
    say(f"{pairs:,} pairs in {taken:.1f} s, {1e6 * taken / pairs:.3g} us each")
    labels = parts["train"][1], parts["test"][1]
    accuracy, ridge, left_out = score(train, labels[0], test, labels[1])
    say(f"accuracy: {100 * accuracy:.2f} % of {given.test} test images")
    say(f"  ridge {ridge:.0e} of the mean diagonal, leave-one-out {100 * left_out:.2f} %")
    say(f"  {PUBLISHED}")
    return accuracy


def parse(arguments=None):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="archive, directory or npz")
    parser.add_argument("--train", type=int, default=10_000, help="images, a multiple of 10")
    parser.add_argument("--test", type=int, default=2_000, help="images, a multiple of 10")
    parser.add_argument("--kernel", default="myrtle10", help="name of a preset")
    parser.add_argument("--recipe", default="shankar2020", help="preprocessing, by name")
    parser.add_argument("--engine", default="auto", help="auto, cuda, cpu or reference")
    parser.add_argument("--precision", default="float32", help="float32, mixed or float64")
    parser.add_argument("--convert", type=Path, help="write the images as an npz, and stop")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    from gramserve.errors import GramserveError

    try:
        main(parse())
    except GramserveError as error:
        raise SystemExit(str(error)) from None
