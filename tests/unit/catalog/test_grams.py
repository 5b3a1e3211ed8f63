"""Gram matrices in the catalog."""

import pytest
from catalog_seeds import DIGEST, SPEC, add_dataset, add_gram, add_job, run_job

from gramserve.catalog import BlockRecord
from gramserve.errors import ConflictError, StoreNotFoundError


async def test_a_gram_reads_back_as_written(catalog):
    await add_gram(catalog, "a" * 32, kernel="ntk")
    record = await catalog.gram("a" * 32)
    assert (record.kernel, record.spec, record.symmetric) == ("ntk", SPEC, True)
    assert (record.dataset, record.other, record.blocks_total) == (DIGEST, None, 6)


async def test_recording_again_changes_nothing_but_the_place(catalog):
    await add_gram(catalog)
    first = await catalog.gram("g" * 32)
    await add_gram(catalog, path="/moved/g")
    moved = await catalog.gram("g" * 32)
    assert (moved.path, moved.created) == ("/moved/g", first.created)


async def test_another_gram_of_the_same_id_is_refused_and_changes_nothing(catalog):
    await add_gram(catalog)
    with pytest.raises(ConflictError, match="another block_size"):
        await add_gram(catalog, block_size=8)
    assert (await catalog.gram("g" * 32)).block_size == 4


async def test_a_gram_of_an_unknown_dataset_is_refused(catalog):
    await add_dataset(catalog)
    with pytest.raises(StoreNotFoundError, match="no data set eeee"):
        await add_gram(catalog, other="e" * 64)
    with pytest.raises(StoreNotFoundError, match="no Gram matrix"):
        await catalog.gram("g" * 32)


async def test_grams_are_listed_newest_first_and_by_dataset(catalog):
    await add_dataset(catalog, "e" * 64)
    for letter, other in (("a", None), ("b", "e" * 64), ("c", None)):
        await add_gram(catalog, letter * 32, other=other)
    assert [record.id[0] for record in await catalog.grams()] == ["c", "b", "a"]
    assert [record.id[0] for record in await catalog.grams(limit=1, offset=1)] == ["b"]
    assert [record.id[0] for record in await catalog.grams(dataset="e" * 64)] == ["b"]


async def test_grams_of_a_job_and_jobs_of_a_gram(catalog):
    for letter, kernel in (("a", "nngp"), ("b", "ntk")):
        await add_gram(catalog, letter * 32, kernel=kernel)
    both = await add_job(catalog, grams={"nngp": "a" * 32, "ntk": "b" * 32})
    one = await add_job(catalog, "a" * 32)
    grams = await catalog.grams_of(both.id)
    assert {kernel: record.id for kernel, record in grams.items()} == both.grams
    assert [job.id for job in await catalog.jobs_of("a" * 32)] == [one.id, both.id]
    assert [job.id for job in await catalog.jobs_of("b" * 32)] == [both.id]


async def test_a_gram_is_kept_while_a_job_makes_it_and_goes_with_its_blocks(catalog):
    gram = await add_gram(catalog)
    job = await run_job(catalog, await add_job(catalog))
    await catalog.record_blocks([BlockRecord(gram=gram, i=0, j=0, state="stored", address="x")])
    with pytest.raises(ConflictError, match=job.id):
        await catalog.forget_gram(gram)
    await catalog.transition(job.id, "succeeded", epoch=job.epoch)
    await catalog.forget_gram(gram)
    assert await catalog.grams() == []
    assert await catalog.blocks(gram) == []
    assert await catalog.grams_of(job.id) == {}
    with pytest.raises(StoreNotFoundError):
        await catalog.forget_gram(gram)
