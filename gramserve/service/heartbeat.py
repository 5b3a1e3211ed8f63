"""The heartbeat of a dispatcher: says that it lives, and notices who does not.

No moment is compared between hosts. A watcher remembers the beat it saw of every other
dispatcher; one whose beat stays the same for the length of a lease, by the watcher's own steady
clock, is retired. A clock that is set forwards or back changes nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

import structlog

from gramserve.catalog import Catalog
from gramserve.errors import CatalogError

LEASE_S = 60.0
"""Seconds without a beat after which a dispatcher counts as dead."""

_BEATS_PER_LEASE = 6

_log = structlog.get_logger(__name__)


class Sightings:
    """Beats as one watcher saw them.

    Parameters
    ----------
    lease_s : float
        Seconds that a dispatcher may be silent.

    Notes
    -----
    While the watcher could not look, the others may have been unable to beat for the same reason.
    Time between two looks counts up to a third of the lease, so that it takes three looks at
    least to call somebody dead.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._looked: float | None = None
        self._seen: dict[str, tuple[int, float]] = {}

    def silent(self, beats: Mapping[str, int], now: float) -> dict[str, int]:
        """Take a look, and return who has been silent for too long, with the last beat.

        Parameters
        ----------
        beats : mapping
            The present beat of every dispatcher.
        now : float
            Seconds of a clock of the watcher's that never goes back.

        Returns
        -------
        dict
            Id to beat.
        """
        passed = 0.0 if self._looked is None else now - self._looked
        passed, self._looked = min(passed, self._lease_s / 3), now
        seen: dict[str, tuple[int, float]] = {}
        for dispatcher, beat in beats.items():
            before, silence = self._seen.get(dispatcher, (None, 0.0))
            seen[dispatcher] = (beat, silence + passed if beat == before else 0.0)
        self._seen = seen
        return {id_: beat for id_, (beat, silence) in seen.items() if silence >= self._lease_s}


class Heartbeat:
    """One dispatcher's place in the catalog.

    Parameters
    ----------
    catalog : Catalog
        Where it beats.
    home : str, optional
        A place where only one dispatcher at a time can be, see
        :meth:`gramserve.catalog.Catalog.open_dispatcher`.
    alone : bool
        Whether nobody else uses the catalog.
    on_lost : callable
        Called when it counted as dead: everything that it held is others' now.
    lease_s : float
        Seconds without a beat after which others take over.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        home: str | None,
        alone: bool,
        on_lost: Callable[[], None],
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._home, self._alone = home, alone
        self._on_lost = on_lost
        self._lease_s = lease_s
        self._clock = clock
        self._sightings = Sightings(lease_s)
        self._task: asyncio.Task[None] | None = None
        self.dispatcher = ""

    async def start(self) -> None:
        """Open a dispatcher and let it beat.

        Raises
        ------
        CatalogError
            When the database refuses.
        """
        await self._open(alone=self._alone)
        self._task = asyncio.create_task(self._beat_always(), name="heartbeat")

    async def stop(self) -> None:
        """End, and leave everything to others."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(CatalogError):
            await self._catalog.retire_dispatcher(self.dispatcher)

    async def beat(self) -> None:
        """Beat once, and look at the others.

        Raises
        ------
        CatalogError
            When the database refuses.
        """
        if not await self._catalog.beat(self.dispatcher):
            _log.warning("counted as dead; beginning anew", dispatcher=self.dispatcher)
            await self._open(alone=False)
            self._on_lost()
        beats = await self._catalog.beats()
        beats.pop(self.dispatcher, None)
        for silent, beat in self._sightings.silent(beats, self._clock()).items():
            if await self._catalog.retire_dispatcher(silent, beat=beat):
                _log.warning("took over from a dispatcher that is silent", dispatcher=silent)

    async def _open(self, *, alone: bool) -> None:
        opened = await self._catalog.open_dispatcher(home=self._home, alone=alone)
        self.dispatcher, interrupted = opened
        for job in interrupted:
            _log.info("job interrupted earlier", job=job.id, state=job.state)

    async def _beat_always(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _BEATS_PER_LEASE)
            try:
                await self.beat()
            except CatalogError as error:
                # Silent, it may be taken for dead: it finds out when the catalog answers again.
                _log.warning("no heartbeat", error=str(error))
            except Exception:
                _log.exception("no heartbeat")
