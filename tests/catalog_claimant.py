"""A process that claims jobs until there are none; what the concurrency test starts."""

import asyncio
from pathlib import Path

from gramserve.catalog import Catalog


def claim_all(path: Path) -> list[str]:
    return asyncio.run(_claim_all(path))


async def _claim_all(path: Path) -> list[str]:
    claimed = []
    async with await Catalog.open(path) as catalog:
        while (job := await catalog.claim_next(lease_s=60)) is not None:
            claimed.append(job.id)
    return claimed
