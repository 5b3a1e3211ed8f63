"""Blocks in the catalog."""

from dataclasses import replace

import pytest
from catalog_seeds import add_gram, add_job

from gramserve.catalog import BlockRecord, BlockTally
from gramserve.errors import CatalogError

STORED = BlockRecord(
    gram="g" * 32,
    i=0,
    j=1,
    state="stored",
    address="a" * 64,
    engine="cpu",
    device="x86",
    code_version=3,
    seconds=1.5,
    worker="w1",
    checksum="crc32c:1",
)
FAILED = replace(
    STORED, state="failed", attempts=3, error={"code": "block", "message": "no"}, checksum=None
)


@pytest.fixture
async def gram(catalog):
    return await add_gram(catalog)


async def test_a_block_reads_back_as_written(catalog, gram):
    await catalog.record_blocks([STORED])
    (found,) = await catalog.blocks(gram)
    assert found.finished is not None
    assert replace(found, finished=None) == STORED


async def test_blocks_are_in_the_order_of_their_places(catalog, gram):
    places = [(1, 1), (0, 2), (0, 0), (2, 2), (0, 10), (1, 2)]
    await catalog.record_blocks(replace(STORED, i=i, j=j) for i, j in places)
    assert [(block.i, block.j) for block in await catalog.blocks(gram)] == sorted(places)
    page = await catalog.blocks(gram, limit=2, offset=3)
    assert [(block.i, block.j) for block in page] == sorted(places)[3:5]
    assert [block.j for block in await catalog.blocks(gram, offset=5)] == [2]


@pytest.mark.parametrize("together", [False, True])
async def test_a_stored_block_replaces_a_failure_and_stays(catalog, gram, together):
    records = [FAILED, STORED, replace(FAILED, attempts=4)]
    for batch in [records] if together else [[record] for record in records]:
        await catalog.record_blocks(batch)
    (found,) = await catalog.blocks(gram)
    assert (found.state, found.error, found.checksum) == ("stored", None, "crc32c:1")
    assert await catalog.failed_blocks(gram=gram) == []


async def test_a_later_record_replaces_an_earlier_one_of_its_kind(catalog, gram):
    await catalog.record_blocks([FAILED])
    await catalog.record_blocks([replace(FAILED, attempts=5)])
    assert [block.attempts for block in await catalog.failed_blocks(gram=gram)] == [5]
    await catalog.record_blocks([STORED])
    await catalog.record_blocks([replace(STORED, worker="w2")])
    assert [block.worker for block in await catalog.blocks(gram)] == ["w2"]


async def test_failed_blocks_of_a_job_are_those_of_its_grams(catalog, gram):
    other = await add_gram(catalog, "h" * 32, kernel="ntk")
    job = await add_job(catalog, gram)
    both = await add_job(catalog, grams={"nngp": gram, "ntk": other})
    await catalog.record_blocks([FAILED, replace(FAILED, gram=other), replace(STORED, j=2)])
    assert [block.gram for block in await catalog.failed_blocks(job=job.id)] == [gram]
    assert [block.gram for block in await catalog.failed_blocks(job=both.id)] == [gram, other]
    assert [b.gram for b in await catalog.failed_blocks(job=both.id, gram=other)] == [other]
    assert len(await catalog.failed_blocks(limit=1)) == 1


async def test_blocks_are_counted_and_filtered_by_state(catalog, gram):
    assert await catalog.block_counts(gram) == BlockTally(stored=0, failed=0)
    await catalog.record_blocks([FAILED, replace(STORED, j=2), replace(STORED, j=3)])
    assert await catalog.block_counts(gram) == BlockTally(stored=2, failed=1)
    assert [block.j for block in await catalog.blocks(gram, state="stored")] == [2, 3]


async def test_records_land_together_or_not_at_all(catalog, gram):
    with pytest.raises(CatalogError, match="refuses"):
        await catalog.record_blocks([STORED, replace(STORED, gram="nope")])
    assert await catalog.blocks(gram) == []
    await catalog.record_blocks([])


async def test_forgotten_blocks_can_fail_again(catalog, gram):
    await catalog.record_blocks([STORED, replace(STORED, j=2)])
    await catalog.forget_blocks(gram, [(0, 1), (7, 7)])
    assert [block.j for block in await catalog.blocks(gram)] == [2]
    await catalog.record_blocks([FAILED])
    assert len(await catalog.failed_blocks(gram=gram)) == 1
