"""The catalog: who asked for what, and how far it is."""

from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import select

from gramserve.catalog.bell import Bell
from gramserve.catalog.blocks import Blocks
from gramserve.catalog.cache import Cache
from gramserve.catalog.database import Database, build_engine
from gramserve.catalog.datasets import Datasets
from gramserve.catalog.dispatchers import Dispatchers
from gramserve.catalog.events import Events
from gramserve.catalog.facet import uninterrupted
from gramserve.catalog.grams import Grams
from gramserve.catalog.jobs import Jobs
from gramserve.catalog.keys import Keys
from gramserve.catalog.leases import Leases
from gramserve.catalog.lifecycle import Lifecycle
from gramserve.catalog.place import is_sqlite, parse_place, prepare_file
from gramserve.catalog.revision import bring_up_to_date


class Catalog(Datasets, Grams, Jobs, Lifecycle, Dispatchers, Leases, Blocks, Cache, Events, Keys):
    """An open catalog; every method is one transaction.

    Make it with :meth:`open` and close it, or use it as a context::

        async with await Catalog.open("catalog.sqlite") as catalog:
            dispatcher, _ = await catalog.open_dispatcher()
            job = await catalog.claim_next(dispatcher=dispatcher)

    Notes
    -----
    A catalog belongs to the event loop it was opened in. Any number of tasks of that loop may
    use it at once, and any number of processes may open the same database.
    """

    @classmethod
    async def open(cls, place: str | Path) -> Self:
        """Open a database, making or upgrading its tables.

        Parameters
        ----------
        place : str or Path
            A file (made when missing), or a URL ``sqlite:///...`` or ``postgresql://...``.

        Returns
        -------
        Catalog

        Raises
        ------
        CatalogRevisionError
            When the database was made by a version that this one does not know.
        CatalogError
            When there is no database there and none can be made, or it is something else's.
        """
        url = parse_place(place)
        if is_sqlite(url):
            await prepare_file(url)
        await bring_up_to_date(url)
        return cls(Database(build_engine(url)), Bell())

    async def close(self) -> None:
        """Wake who waits for events and close all connections; closing twice is no error."""
        self._bell.silence()
        await self._database.close()

    @uninterrupted
    async def ping(self) -> None:
        """Ask the database for nothing.

        Raises
        ------
        CatalogError
            When it does not answer.
        """
        async with self._database.read() as connection:
            await connection.execute(select(1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
