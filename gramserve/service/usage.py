"""Which matrices are read or asked for: in memory for every answer, written down now and then."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator

import structlog

from gramserve.catalog import Catalog
from gramserve.errors import CatalogError

WRITTEN_S = 10.0
"""Seconds between two writes; what a killed server had counted since the last one is lost."""

_log = structlog.get_logger(__name__)


class Usage:
    """Rows served of every Gram matrix since they were last written down.

    Parameters
    ----------
    catalog : Catalog
        Where they are written.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rows: dict[str, int] = {}
        self._held: Counter[str] = Counter()

    @contextlib.contextmanager
    def holding(self, grams: Collection[str]) -> Iterator[None]:
        """Keep matrices from being evicted here, from before they are recorded to their job.

        Parameters
        ----------
        grams : collection of str
            Ids, recorded or not.
        """
        self._held.update(grams)
        try:
            yield
        finally:
            self._held.subtract(grams)

    def is_held(self, gram: str) -> bool:
        """Whether somebody is :meth:`holding` a matrix now."""
        return self._held[gram] > 0

    def note(self, gram: str, rows: int) -> None:
        """Count rows that were served; costs no question to the database.

        Parameters
        ----------
        gram : str
            Id of the Gram matrix.
        rows : int
            How many.
        """
        self._rows[gram] = self._rows.get(gram, 0) + rows

    async def write(self) -> None:
        """Write down what was counted, in one transaction.

        Raises
        ------
        CatalogError
            When the database refuses; the counts are kept then.
        """
        rows, self._rows = self._rows, {}
        try:
            await self._catalog.record_use(rows)
        except CatalogError:
            for gram, count in rows.items():
                self.note(gram, count)
            raise

    @contextlib.asynccontextmanager
    async def written_always(self) -> AsyncIterator[None]:
        """Write every few seconds, and once more at the end."""
        writer = asyncio.create_task(self._write_always(), name="usage")
        try:
            yield
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            with contextlib.suppress(CatalogError):
                await self.write()

    async def _write_always(self) -> None:
        while True:
            await asyncio.sleep(WRITTEN_S)
            try:
                await self.write()
            except CatalogError as error:
                _log.warning("use not written", error=str(error))
