"""Making room: matrices that nobody wants go, the least recently used first."""

import asyncio
import contextlib

import structlog

from gramserve.catalog import Catalog, GramRecord
from gramserve.errors import ConflictError, StoreNotFoundError
from gramserve.service.census import Census, take_census
from gramserve.service.open_grams import OpenGrams
from gramserve.service.usage import Usage
from gramserve.spec.cache_reports import EvictionReport, EvictionStep, KeptGram
from gramserve.store import EvictedGram, SharedUse, StateLayout

_log = structlog.get_logger(__name__)


class Evictor:
    """Evicts Gram matrices of one server; one eviction at a time.

    Parameters
    ----------
    catalog, layout, grams, usage
        Parts of the server.
    """

    def __init__(
        self, catalog: Catalog, layout: StateLayout, grams: OpenGrams, usage: Usage
    ) -> None:
        self._catalog = catalog
        self._layout = layout
        self._grams = grams
        self._usage = usage
        self._turn = asyncio.Lock()
        self.taken = 0
        """Matrices that lost their name here so far: what was listed before may have gone."""

    async def census(self) -> Census:
        """Return what is stored, with the latest use written down."""
        await self._usage.write()
        return await take_census(self._catalog, self._layout)

    async def evict(
        self, *, max_bytes: int | None = None, free_bytes: int | None = None, execute: bool = False
    ) -> EvictionReport:
        """Evict matrices until the rest is small enough.

        Parameters
        ----------
        max_bytes : int, optional
            What matrices may occupy at most.
        free_bytes : int, optional
            What must be free on the disk afterwards.
        execute : bool
            False only says what would happen.

        Returns
        -------
        EvictionReport
            With the matrices that were, or would be, evicted, in order.

        Notes
        -----
        A matrix stays when it is pinned, when an unfinished job refers to it, or when it was
        asked for or read within the last minute. That is looked at once more, inside the
        transaction that forgets the matrix, and its directory loses its name in the same
        transaction; a job that asks for it afterwards makes it anew.
        """
        async with self._turn:
            census = await self.census()
            shared = SharedUse(census.uses)
            before = shared.bytes
            goals = [before]
            if max_bytes is not None:
                goals.append(max_bytes)
            if free_bytes is not None:
                goals.append(max(0, before - max(0, free_bytes - census.free_bytes)))
            goal = min(goals)
            evicted: list[EvictionStep] = []
            kept: list[KeptGram] = []
            for number, gram in enumerate(census.grams):
                if shared.bytes <= goal:
                    break
                why = census.in_use(gram)
                if why is None and execute:
                    why = await self._evict(gram)
                if why is not None:
                    kept.append(KeptGram(id=gram.id, why=why))
                    continue
                freed = shared.remove(number)
                evicted.append(EvictionStep(id=gram.id, bytes=freed, last_used=gram.last_used))
            return EvictionReport(
                executed=execute,
                bytes_before=before,
                bytes_after=shared.bytes,
                goal_bytes=goal,
                reached=shared.bytes <= goal,
                evicted=evicted,
                kept=kept,
            )

    async def _evict(self, gram: GramRecord) -> str | None:
        """Evict one matrix; return why it could not be."""
        files = EvictedGram(self._layout.gram(gram.id))

        def take() -> None:
            if self._usage.is_held(gram.id):
                raise ConflictError("somebody is asking for it", gram=gram.id)
            files.take()
            self.taken += 1

        try:
            await self._catalog.evict_gram(gram.id, last_used=gram.last_used, remove=take)
        except (ConflictError, StoreNotFoundError) as error:
            await asyncio.to_thread(files.restore)
            return str(error)
        except BaseException:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(files.restore)
            raise
        self._grams.forget(gram.id)
        await asyncio.to_thread(files.remove)
        _log.info("matrix evicted", gram=gram.id)
        return None
