"""Sharing and keeping in the catalog."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from catalog_seeds import add_gram, add_job, run_job

from gramserve.catalog import BlockGroup, BlockRecord
from gramserve.errors import ConflictError, StoreError, StoreNotFoundError

GRAM = "g" * 32
THEN = datetime(2026, 1, 1, tzinfo=UTC)
MADE = BlockRecord(
    gram=GRAM,
    i=0,
    j=0,
    state="stored",
    engine="cpu",
    device="d",
    code_version=2,
    seconds=1.5,
    worker="w",
)


@pytest.fixture
async def gram(catalog):
    return await add_gram(catalog, kernel_address="f" * 64)


async def key(catalog, name):
    return (await catalog.create_key(name, ["submit"]))[0].id


async def evict(catalog, gram, **changes):
    record = await catalog.gram(gram)
    removed = []
    known = {"last_used": record.last_used, "remove": lambda: removed.append(gram)}
    await catalog.evict_gram(gram, **(known | changes))
    return removed


async def test_kin_are_matrices_of_one_function(catalog, gram):
    other = await add_gram(catalog, "h" * 32, block_size=8, kernel_address="f" * 64)
    await add_gram(catalog, "i" * 32, kernel="ntk", kernel_address="e" * 64)
    await add_gram(catalog, "j" * 32, precision="mixed")
    assert [one.id for one in await catalog.kin("f" * 64)] == [gram, other]
    assert await catalog.kin("0" * 64) == []
    # Recorded again by something that does not know its function, a matrix keeps it.
    await add_gram(catalog)
    assert (await catalog.gram(gram)).kernel_address == "f" * 64


async def test_blocks_are_found_by_many_places(catalog, gram):
    origin = {"gram": "h" * 32, "blocks": [[1, 2], [1, 3]]}
    await catalog.record_blocks([replace(MADE, i=i, j=j) for i in range(30) for j in range(30)])
    await catalog.record_blocks(
        [
            replace(MADE, i=40, adopted_from=origin),
            BlockRecord(gram=GRAM, i=41, j=0, state="failed", error={"code": "x", "message": "y"}),
        ]
    )
    places = [(i, j) for i in range(20, 50) for j in range(30)]
    found = await catalog.blocks_at(gram, places)
    assert set(found) == {(i, j) for i in range(20, 30) for j in range(30)} | {(40, 0)}
    assert found[40, 0].adopted_from == origin
    assert found[20, 0].adopted_from is None
    assert await catalog.blocks_at(gram, []) == {}


async def test_blocks_made_alike_are_counted_together(catalog, gram):
    origin = {"gram": "h" * 32, "blocks": [[0, 0]]}
    records = [replace(MADE, j=1), replace(MADE, j=2, worker="v"), replace(MADE, j=3, seconds=None)]
    await catalog.record_blocks([MADE, *records, replace(MADE, j=4, adopted_from=origin)])
    alike = {"engine": "cpu", "device": "d", "code_version": 2}
    groups = await catalog.block_groups(gram)
    assert groups[0] == BlockGroup(**alike, worker="w", adopted=False, blocks=3, seconds=3.0)
    assert len(groups) == 3
    assert BlockGroup(**alike, worker="v", adopted=False, blocks=1, seconds=1.5) in groups
    assert BlockGroup(**alike, worker="w", adopted=True, blocks=1, seconds=1.5) in groups


async def test_use_is_added_up_and_asking_counts_as_use(catalog, gram):
    asked = (await catalog.gram(gram)).last_used
    await catalog.record_use({gram: 3, "0" * 32: 9}, THEN)
    await catalog.record_use({gram: 4}, THEN + timedelta(hours=1))
    record = await catalog.gram(gram)
    assert (record.rows_served, record.last_used) == (7, THEN + timedelta(hours=1))
    await catalog.record_use({})
    await add_gram(catalog)
    record = await catalog.gram(gram)
    assert record.last_used >= asked
    assert record.rows_served == 7


async def test_matrices_come_in_the_order_of_their_last_use(catalog, gram):
    for number, letter in enumerate("hij"):
        await add_gram(catalog, letter * 32)
        await catalog.record_use({letter * 32: 0}, THEN - timedelta(days=number))
    assert [one.id[0] for one in await catalog.all_grams()] == ["j", "i", "h", "g"]


async def test_verifications_and_audits_are_kept(catalog, gram):
    assert (await catalog.gram(gram)).verified is (await catalog.gram(gram)).audit is None
    await catalog.record_verified(gram, THEN)
    await catalog.record_audit(gram, {"passed": True})
    record = await catalog.gram(gram)
    assert (record.verified, record.audit) == (THEN, {"passed": True})


async def test_pins_are_one_for_each_key_and_keep_a_matrix(catalog, gram):
    ada, bob = await key(catalog, "ada"), await key(catalog, "bob")
    await catalog.pin_gram(gram, ada, "paper")
    await catalog.pin_gram(gram, ada, "book")
    await catalog.pin_gram(gram, bob)
    assert [(pin.key_name, pin.reason) for pin in await catalog.pins(gram)] == [
        ("ada", "book"),
        ("bob", None),
    ]
    with pytest.raises(ConflictError, match="pinned"):
        await evict(catalog, gram)
    assert await catalog.unpin_gram(gram, ada) == 1
    assert await catalog.unpin_gram(gram, ada) == 0
    assert [pin.key_name for pin in await catalog.pins()] == ["bob"]
    assert await catalog.unpin_gram(gram) == 1
    assert await evict(catalog, gram) == [gram]
    with pytest.raises(StoreNotFoundError):
        await catalog.pin_gram(gram, ada)


async def test_a_matrix_that_somebody_wants_is_not_evicted(catalog, gram):
    chosen = await catalog.gram(gram)
    await catalog.record_use({gram: 1})
    with pytest.raises(ConflictError, match="used a moment ago"):
        await evict(catalog, gram, last_used=chosen.last_used)
    job = await add_job(catalog)
    with pytest.raises(ConflictError, match=job.id):
        await evict(catalog, gram)
    running = await run_job(catalog, job)
    assert await catalog.live_grams() == {gram}
    with pytest.raises(ConflictError, match="unfinished"):
        await evict(catalog, gram)
    await catalog.transition(job.id, "succeeded", epoch=running.epoch)
    assert await catalog.live_grams() == set()

    def refuse():
        raise StoreError("the disk says no")

    with pytest.raises(StoreError, match="says no"):
        await evict(catalog, gram, remove=refuse)
    assert (await catalog.gram(gram)).id == gram
    await catalog.record_blocks([MADE])
    assert await evict(catalog, gram) == [gram]
    assert await catalog.blocks(gram) == []
    with pytest.raises(StoreNotFoundError):
        await evict(catalog, gram)


async def test_hits_are_counted_by_user_over_jobs_that_have_ended(catalog, gram):
    ada = await key(catalog, "ada")
    counts = {"blocks_total": 6, "blocks_done": 6, "blocks_reused": 4, "state": "succeeded"}
    for who in (ada, ada, None):
        await add_job(catalog, key_id=who, **counts)
    await add_job(catalog, key_id=ada, blocks_total=6, blocks_reused=6)
    tallies = {tally.key_name: tally for tally in await catalog.reuse()}
    assert (tallies["ada"].jobs, tallies["ada"].blocks_asked) == (2, 12)
    assert tallies["ada"].blocks_reused == 8
    assert (tallies[None].jobs, tallies[None].blocks_reused) == (1, 4)
    assert await catalog.askers() == {gram: [(ada, "ada")]}
