"""Checking every stored byte of the matrices of a server, in the background."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

from gramserve.catalog import BlockRecord, Catalog, GramRecord
from gramserve.catalog.times import utc_now
from gramserve.errors import StoreNotFoundError
from gramserve.service.chore import Chore
from gramserve.service.open_grams import OpenGrams
from gramserve.spec.cache_reports import DamagedBlock, VerificationReport
from gramserve.store import (
    GramStore,
    StateLayout,
    VerifiedBlock,
    masked_blocks,
    stored_canonical,
    verify_or_drop,
)

_BATCH = 16
_LISTED = 1000


class Verifier:
    """Verifies matrices, one verification at a time.

    Parameters
    ----------
    catalog, layout, grams
        Parts of the server.
    """

    def __init__(self, catalog: Catalog, layout: StateLayout, grams: OpenGrams) -> None:
        self._catalog = catalog
        self._layout = layout
        self._grams = grams
        self.chore: Chore[VerificationReport] = Chore("a verification")

    def start(
        self, *, gram: str | None = None, drop: bool = True, max_age_s: float | None = None
    ) -> VerificationReport:
        """Begin to verify.

        Parameters
        ----------
        gram : str, optional
            Only this matrix; all when not given.
        drop : bool
            Whether damaged blocks are removed, so that they are computed again.
        max_age_s : float, optional
            Leave out matrices that were verified within so many seconds: that is how an
            interrupted verification goes on.

        Returns
        -------
        VerificationReport
            As it begins; :attr:`chore` has the later ones.

        Raises
        ------
        ConflictError
            When one goes on already.
        """
        started = utc_now()
        report = VerificationReport(state="running", started=started)

        async def work() -> None:
            await self._verify(gram, drop, max_age_s, started)

        self.chore.start(work, self._fail)
        self.chore.report = report
        return report

    def _update(self, **changes: Any) -> None:
        if self.chore.report is not None:
            self.chore.report = self.chore.report.model_copy(update=changes)

    def _fail(self, error: str) -> None:
        self._update(state="failed", error=error, finished=utc_now())

    async def _verify(
        self, gram: str | None, drop: bool, max_age_s: float | None, started: datetime
    ) -> None:
        chosen = [await self._catalog.gram(gram)] if gram else await self._catalog.all_grams()
        if max_age_s is not None:
            since = started - timedelta(seconds=max_age_s)
            chosen = [one for one in chosen if one.verified is None or one.verified < since]
        chosen.sort(key=lambda one: (one.verified is not None, one.verified or one.created))
        self._update(grams_total=len(chosen))
        for number, one in enumerate(chosen):
            if not await self._verify_gram(one, drop):
                self._update(state="stopped", finished=utc_now())
                return
            self._update(grams_done=number + 1)
        self._update(state="done", finished=utc_now())

    async def _verify_gram(self, gram: GramRecord, drop: bool) -> bool:
        try:
            store = await asyncio.to_thread(GramStore.open, self._layout.gram(gram.id))
        except StoreNotFoundError:
            return True  # nothing of it is stored, or it was evicted a moment ago
        stored = masked_blocks(await asyncio.to_thread(stored_canonical, store))
        is_sound = True
        for places in batched(stored, _BATCH):
            if self.chore.should_stop():
                return False
            found = await asyncio.to_thread(_check, store, places, drop)
            damaged = [one for one in found if one.damage is not None]
            is_sound &= all(one.dropped for one in damaged)
            await self._book(gram, found, damaged)
        if is_sound:
            await self._catalog.record_verified(gram.id)
        return True

    async def _book(
        self, gram: GramRecord, found: Sequence[VerifiedBlock], damaged: Sequence[VerifiedBlock]
    ) -> None:
        dropped = [one.block for one in damaged if one.dropped]
        if dropped:
            await self._catalog.forget_blocks(gram.id, dropped)
            self._grams.forget(gram.id)
        intact = {one.block: one.checksum for one in found if one.damage is None}
        known = await self._catalog.blocks_at(gram.id, list(intact))
        # Blocks whose records were lost with a catalog; who made them is not known any more.
        await self._catalog.record_blocks(
            BlockRecord(gram=gram.id, i=i, j=j, state="stored", checksum=checksum)
            for (i, j), checksum in intact.items()
            if (i, j) not in known
        )
        report = self.chore.report
        if report is None:
            return
        listed = [
            DamagedBlock(gram=gram.id, block=one.block, error=one.damage or "", dropped=one.dropped)
            for one in damaged
        ]
        self._update(
            blocks_checked=report.blocks_checked + len(found),
            blocks_damaged=report.blocks_damaged + len(damaged),
            damaged=[*report.damaged, *listed][:_LISTED],
        )


def _check(store: GramStore, places: Sequence[tuple[int, int]], drop: bool) -> list[VerifiedBlock]:
    found = [verify_or_drop(store, place, drop=drop) for place in places]
    return [one for one in found if one is not None]
