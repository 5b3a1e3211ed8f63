"""Data sets that were made from others, and the fitted recipes they were made by."""

import json
from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import CorruptBlockError, InvalidDataError, StoreNotFoundError
from gramserve.preprocessing import PreprocessedItems, fit_recipe
from gramserve.spec import derived_address, parse_recipe
from gramserve.store import DatasetStore, TransformStore, datasets

RECIPE = parse_recipe(
    {"steps": [{"type": "standardize"}, {"type": "zca", "center": True, "regularization": 0.1}]}
)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets")


@pytest.fixture
def transforms(tmp_path: Path) -> TransformStore:
    return TransformStore(tmp_path / "transforms")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 4, 3, 2), dtype="uint8")


def made_of(source: str) -> dict:
    recipe = RECIPE.canonical()
    return {"source": source, "fit": source, "recipe": recipe, "dtype": "float32"}


def derive(store: DatasetStore, source: str) -> str:
    stored = store.open(source)
    items = PreprocessedItems(stored, fit_recipe(stored, RECIPE), "float32")
    digest = derived_address(RECIPE, source, source, "float32")
    store.add_derived(items, digest, preprocessing=made_of(source), name="white")
    return digest


@pytest.mark.parametrize("run_bytes", [4 * 2**20, 100], ids=["one run", "many runs"])
def test_it_is_stored_under_the_name_of_how_it_was_made(
    store: DatasetStore, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, run_bytes: int
) -> None:
    monkeypatch.setattr(datasets, "_RUN_BYTES", run_bytes)
    source = store.add(images).digest
    digest = derive(store, source)
    record = store.info(digest)
    assert record.preprocessing == made_of(source)
    assert (record.shape, record.dtype, record.bytes) == (images.shape, "float32", 30 * 24 * 4)
    wanted = fit_recipe(images, RECIPE).apply(images)
    np.testing.assert_allclose(store.read(digest), wanted, rtol=1e-6, atol=1e-6)
    assert store.info(source).preprocessing is None
    assert [one.digest for one in store.list()] == [source, digest]


def test_its_items_are_still_known_by_their_bytes(store: DatasetStore, images: np.ndarray) -> None:
    digest = derive(store, store.add(images).digest)
    values = store.read(digest)
    uploaded = store.add(values)
    assert uploaded.digest == store.info(digest).content != digest
    assert store.range_digest(digest, 0, 30) == uploaded.digest
    assert store.range_digest(digest, 3, 9) == store.add(values[3:9]).digest
    np.testing.assert_array_equal(store.item_keys(digest), store.item_keys(uploaded.digest))


def test_what_is_stored_already_is_kept(store: DatasetStore, images: np.ndarray) -> None:
    source = store.add(images).digest
    digest = derive(store, source)
    before = store.info(digest)
    again = store.add_derived(
        PreprocessedItems(store.open(source), fit_recipe(images, RECIPE), "float32"),
        digest,
        preprocessing=made_of(source),
    )
    assert again.known
    assert store.info(digest) == before


def test_damage_is_noticed(store: DatasetStore, images: np.ndarray) -> None:
    digest = derive(store, store.add(images).digest)
    chunk = next((store.root / digest / "items" / "c").rglob("0"))
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    damaged = bytearray(chunk.read_bytes())
    damaged[5] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(CorruptBlockError):
        store.read(digest)


def test_nothing_stays_of_items_that_overflow(store: DatasetStore) -> None:
    source = store.add(np.array([[1.0, 2.0], [1e300, 0.0]])).digest
    recipe = parse_recipe({"steps": [{"type": "scale", "factor": 3}]})
    items = PreprocessedItems(store.open(source), fit_recipe(np.eye(2), recipe), "float32")
    with pytest.raises(InvalidDataError, match="item 1 is too large for float32"):
        store.add_derived(items, "0" * 64, preprocessing=made_of(source))
    assert [path.name for path in store.root.iterdir()] == [source]


def test_stored_items_read_like_an_array(store: DatasetStore, images: np.ndarray) -> None:
    items = store.open(store.add(images).digest)
    assert (items.shape, items.dtype, len(items)) == (images.shape, np.uint8, 30)
    for run in (slice(None), slice(3, 9), slice(25, 99), slice(-4, None)):
        np.testing.assert_array_equal(items[run], images[run])
    with pytest.raises(StoreNotFoundError):
        store.open("0" * 64)


def test_a_fitted_recipe_reads_back_to_the_bit(
    transforms: TransformStore, images: np.ndarray
) -> None:
    fitted = fit_recipe(images, RECIPE)
    with pytest.raises(StoreNotFoundError, match="not fitted"):
        transforms.load(RECIPE, "f" * 64)
    transforms.save(fitted, "f" * 64)
    transforms.save(fitted, "f" * 64)
    found = transforms.load(RECIPE, "f" * 64)
    assert (found.recipe, found.item_shape) == (RECIPE, (4, 3, 2))
    np.testing.assert_array_equal(found.apply(images), fitted.apply(images))
    assert len(list(transforms.root.iterdir())) == 1


def test_a_fitted_recipe_goes_with_what_it_was_fitted_on(
    transforms: TransformStore, images: np.ndarray
) -> None:
    assert transforms.drop_fitted_on("f" * 64) == 0
    for fit in ("e" * 64, "f" * 64):
        transforms.save(fit_recipe(images, RECIPE), fit)
    assert transforms.drop_fitted_on("f" * 64) == 1
    assert transforms.load(RECIPE, "e" * 64).recipe == RECIPE
    with pytest.raises(StoreNotFoundError):
        transforms.load(RECIPE, "f" * 64)


@pytest.mark.parametrize("damage", ["header", "chunk", "array"])
def test_a_damaged_fit_says_what_to_do(
    transforms: TransformStore, images: np.ndarray, damage: str
) -> None:
    transforms.save(fit_recipe(images, RECIPE), "f" * 64)
    place = next(transforms.root.iterdir())
    if damage == "header":
        (place / "zarr.json").write_text(json.dumps({"attributes": {}}))
    elif damage == "chunk":
        chunk = next(path for path in (place / "1.matrix" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(chunk.read_bytes()[:-9])
    else:
        (place / "0.mean" / "zarr.json").unlink()
    with pytest.raises(CorruptBlockError):
        transforms.load(RECIPE, "f" * 64)
