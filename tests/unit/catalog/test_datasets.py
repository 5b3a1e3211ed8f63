"""Data sets in the catalog."""

from datetime import UTC, datetime, timedelta

import pytest
from catalog_seeds import DIGEST, add_dataset, add_gram, add_job

from gramserve.errors import ConflictError, StoreNotFoundError


async def test_a_dataset_reads_back_as_written(catalog):
    before = datetime.now(UTC)
    written = await catalog.record_dataset(
        DIGEST, shape=(5, 4, 4, 1), dtype="float32", items=5, bytes=2**40, name="stars"
    )
    assert await catalog.dataset(DIGEST) == written
    assert (written.shape, written.bytes, written.name) == ((5, 4, 4, 1), 2**40, "stars")
    assert before - timedelta(seconds=1) <= written.created <= datetime.now(UTC)
    assert written.created.utcoffset() == timedelta(0)


async def test_recording_again_keeps_the_first_and_takes_a_new_name(catalog):
    await add_dataset(catalog)
    first = await catalog.dataset(DIGEST)
    await add_dataset(catalog)
    assert await catalog.dataset(DIGEST) == first
    again = await catalog.record_dataset(
        DIGEST, shape=(9, 8, 8, 3), dtype="uint8", items=9, bytes=1728, name="moons"
    )
    assert (again.name, again.created) == ("moons", first.created)


async def test_datasets_are_listed_newest_first_in_pages(catalog):
    for letter in "abcde":
        await add_dataset(catalog, letter * 64)
    pages = [await catalog.datasets(limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [record.digest[0] for page in pages for record in page] == list("edcba")


async def test_an_unknown_dataset_is_not_found(catalog):
    with pytest.raises(StoreNotFoundError, match="no data set"):
        await catalog.dataset(DIGEST)
    with pytest.raises(StoreNotFoundError, match="no data set"):
        await catalog.forget_dataset(DIGEST)


async def test_a_dataset_is_kept_while_a_gram_needs_it(catalog):
    gram = await add_gram(catalog)
    with pytest.raises(ConflictError, match="needed by 1 Gram matrices"):
        await catalog.forget_dataset(DIGEST)
    await catalog.forget_gram(gram)
    await catalog.forget_dataset(DIGEST)
    assert await catalog.datasets() == []


async def test_a_dataset_is_kept_while_it_is_the_columns_of_a_gram(catalog):
    await add_dataset(catalog, "e" * 64)
    await add_gram(catalog, other="e" * 64, symmetric=False)
    with pytest.raises(ConflictError):
        await catalog.forget_dataset("e" * 64)


async def test_a_finished_job_does_not_hold_its_dataset(catalog):
    gram = await add_gram(catalog)
    job = await add_job(catalog)
    await catalog.cancel_job(job.id)
    await catalog.forget_gram(gram)
    await catalog.forget_dataset(DIGEST)
    kept = await catalog.job(job.id)
    assert (kept.dataset, kept.grams) == (DIGEST, {"nngp": gram})
