import asyncio

import pytest

from gramserve.errors import ConflictError, StoreError
from gramserve.service.chore import Chore


async def test_one_of_a_kind_at_a_time_and_it_stops_when_asked():
    chore = Chore("a test")
    failures = []

    async def work():
        while not chore.should_stop():
            await asyncio.sleep(0)
        chore.report = "stopped"

    assert not chore.is_running
    chore.start(work, failures.append)
    assert chore.is_running
    with pytest.raises(ConflictError, match="a test goes on already"):
        chore.start(work, failures.append)
    await chore.stop()
    assert (chore.is_running, chore.report, failures) == (False, "stopped", [])
    chore.start(work, failures.append)
    await chore.stop()
    await chore.stop()


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreError("the disk is gone"), "the disk is gone"), (KeyError(3), "KeyError: 3")],
)
async def test_what_ends_it_early_is_told(error, said):
    chore = Chore("a test")
    failures = []

    async def work():
        raise error

    chore.start(work, failures.append)
    await chore.stop()
    assert failures == [said]
