"""Which matrices are read: counted in memory for every answer, written down now and then."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
