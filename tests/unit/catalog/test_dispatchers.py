"""Which dispatchers are alive, and what becomes of what the dead held."""

import pytest
from catalog_seeds import add_gram, add_job, open_dispatcher

from gramserve.errors import IllegalTransitionError


@pytest.fixture
async def held(catalog):
    """A dispatcher that holds a running job, and the job."""
    await add_gram(catalog)
    await add_job(catalog)
    dispatcher = await open_dispatcher(catalog)
    job = await catalog.claim_next(dispatcher=dispatcher)
    return dispatcher, await catalog.transition(job.id, "running", epoch=job.epoch)


async def test_a_beat_counts_up(catalog):
    first, second = await open_dispatcher(catalog), await open_dispatcher(catalog)
    for _ in range(3):
        assert await catalog.beat(first)
    assert await catalog.beats() == {first: 3, second: 0}


async def test_the_dead_lose_their_jobs_and_grams_and_cannot_write(catalog, held):
    dispatcher, job = held
    assert await catalog.retire_dispatcher(dispatcher, beat=0)
    again = await catalog.job(job.id)
    assert (again.state, again.dispatcher, again.epoch) == ("queued", None, job.epoch + 1)
    assert await catalog.gram_holders(job.grams.values()) == {}
    assert not await catalog.beat(dispatcher)
    with pytest.raises(IllegalTransitionError):
        await catalog.transition(job.id, "succeeded", epoch=job.epoch)
    assert not await catalog.retire_dispatcher(dispatcher, beat=0)


async def test_a_beat_in_the_last_moment_saves(catalog, held):
    dispatcher, job = held
    seen = (await catalog.beats())[dispatcher]
    await catalog.beat(dispatcher)
    assert not await catalog.retire_dispatcher(dispatcher, beat=seen)
    assert (await catalog.job(job.id)).state == "running"


async def test_what_was_being_cancelled_is_cancelled(catalog, held):
    dispatcher, job = held
    await catalog.cancel_job(job.id)
    assert await catalog.retire_dispatcher(dispatcher)
    assert (await catalog.job(job.id)).state == "cancelled"


async def test_a_new_dispatcher_takes_over_the_place_it_locked(catalog):
    await add_gram(catalog, "a" * 32)
    await add_gram(catalog, "b" * 32)
    mine, others = await add_job(catalog, "a" * 32), await add_job(catalog, "b" * 32)
    dead = await open_dispatcher(catalog, home="here")
    alive = await open_dispatcher(catalog, home="there")
    assert (await catalog.claim_next(dispatcher=dead)).id == mine.id
    assert (await catalog.claim_next(dispatcher=alive)).id == others.id
    dispatcher, moved = await catalog.open_dispatcher(home="here")
    assert [job.id for job in moved] == [mine.id]
    assert set(await catalog.beats()) == {dispatcher, alive}


async def test_who_is_alone_takes_everything(catalog, held):
    _, job = held
    dispatcher, moved = await catalog.open_dispatcher(alone=True)
    assert [found.id for found in moved] == [job.id]
    assert set(await catalog.beats()) == {dispatcher}
