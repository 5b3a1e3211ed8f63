"""Data sets in the catalog that were made from others."""

import pytest
from alembic import command
from catalog_seeds import DIGEST, add_dataset
from sqlalchemy import text

from gramserve.catalog import Catalog
from gramserve.catalog.database import build_engine, writing
from gramserve.catalog.place import parse_place
from gramserve.catalog.revision import migration_config
from gramserve.errors import ConflictError, StoreNotFoundError

TRAIN, WHITE = "a" * 64, "b" * 64
RECIPE = {"format": "gramserve.preprocessing/1", "steps": [{"type": "center", "per": "item"}]}


async def add_derived(catalog, digest=WHITE, **made):
    known = {"source": DIGEST, "fit": TRAIN, "recipe": RECIPE, "dtype": "float32"}
    return await catalog.record_dataset(
        digest,
        shape=(9, 8, 8, 3),
        dtype="float32",
        items=9,
        bytes=6912,
        preprocessing=known | made,
    )


async def test_how_it_was_made_reads_back_everywhere(catalog):
    await add_dataset(catalog)
    written = await add_derived(catalog)
    assert written.preprocessing == {
        "source": DIGEST,
        "fit": TRAIN,
        "recipe": RECIPE,
        "dtype": "float32",
    }
    assert await catalog.dataset(WHITE) == written
    assert written in await catalog.datasets()
    assert (await catalog.dataset(DIGEST)).preprocessing is None
    assert await add_derived(catalog) == written


async def test_source_and_fit_are_kept_while_something_was_made_of_them(catalog):
    await add_dataset(catalog)
    await add_dataset(catalog, TRAIN)
    await add_derived(catalog)
    for digest in (DIGEST, TRAIN):
        with pytest.raises(ConflictError, match="needed by 1 data sets preprocessed from it"):
            await catalog.forget_dataset(digest)
    await catalog.forget_dataset(WHITE)
    await catalog.forget_dataset(DIGEST)
    await catalog.forget_dataset(TRAIN)
    assert await catalog.datasets() == []


async def test_nothing_is_left_of_a_forgotten_one(catalog):
    await add_dataset(catalog)
    await add_derived(catalog, fit=None)
    await catalog.forget_dataset(WHITE)
    await add_dataset(catalog, WHITE)
    assert (await catalog.dataset(WHITE)).preprocessing is None


async def test_its_origin_may_be_unknown(catalog):
    """The store is the truth: what somebody removed there does not keep a server from starting."""
    written = await add_derived(catalog)
    assert written.preprocessing["source"] == DIGEST
    with pytest.raises(StoreNotFoundError):
        await catalog.dataset(DIGEST)


async def test_a_catalog_of_the_first_revision_is_upgraded_with_its_data_sets(place):
    async with await Catalog.open(place) as catalog:
        await add_dataset(catalog)
        before = await catalog.dataset(DIGEST)
    engine = build_engine(parse_place(place), migrates=True)
    async with writing(engine).begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(migration_config(c), "0001"))
        await connection.execute(text("SELECT digest FROM datasets"))
    await engine.dispose()
    async with await Catalog.open(place) as catalog:
        assert await catalog.dataset(DIGEST) == before
        assert (await add_derived(catalog)).preprocessing["source"] == DIGEST
