"""A process that claims jobs until there are none; what the concurrency test starts."""

import asyncio
from pathlib import Path

from gramserve.catalog import Catalog


def claim_all(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return asyncio.run(_claim_all(path))


async def _claim_all(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    claimed = []
    async with await Catalog.open(path) as catalog:
        dispatcher, _ = await catalog.open_dispatcher()
        while (job := await catalog.claim_next(dispatcher=dispatcher)) is not None:
            claimed.append((job.id, tuple(job.grams.values())))
    return claimed
