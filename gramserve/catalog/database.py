"""Connections and transactions: the one place that knows one database from another."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from gramserve.catalog.place import is_sqlite
from gramserve.errors import CatalogError, GramserveError

_BUSY_TIMEOUT_S = 30.0
_WRITES = "gramserve_writes"
_REMEDIES = {
    "locked": "another process holds the write lock; end it, or use PostgreSQL",
    "disk is full": "free space on the disk of the catalog",
    "readonly": "let this user write the file of the catalog and its directory",
    "malformed": "restore a copy, or move the file away (stored blocks are found again)",
    "not a database": "restore a copy, or move the file away (stored blocks are found again)",
    "connect": "check that the database runs and that its URL is right",
    "does not exist": "make the database, or correct the URL",
    "authentication": "correct the user or the password in the URL",
}


def build_engine(url: URL, *, migrates: bool = False) -> AsyncEngine:
    """Return an engine whose transactions are really transactions.

    Parameters
    ----------
    url : sqlalchemy.engine.URL
        As :func:`gramserve.catalog.place.parse_place` returns it.
    migrates : bool
        Whether the engine changes tables: it then sets the journal mode, and leaves foreign
        keys unchecked, because rebuilding a table on SQLite drops the old one.

    Returns
    -------
    AsyncEngine

    Raises
    ------
    CatalogError
        When the driver is not installed.

    Notes
    -----
    Python's ``sqlite3`` begins transactions only before some statements. Its own handling is
    switched off (``isolation_level=None``) and SQLAlchemy emits ``BEGIN``, or ``BEGIN
    IMMEDIATE`` for transactions that write: a deferred transaction that starts to write after
    another one did cannot wait, it fails at once.
    """
    options: dict[str, Any] = {"poolclass": NullPool} if migrates else {}
    if is_sqlite(url):
        options["connect_args"] = {"timeout": _BUSY_TIMEOUT_S, "isolation_level": None}
    try:
        engine = create_async_engine(url, **options)
    except ImportError as error:
        raise CatalogError(
            f"the driver of {url.drivername} is not installed ({error.name}); "
            "pip install 'gramserve[postgres]'"
        ) from error
    if is_sqlite(url):
        _listen(engine, migrates=migrates)
    return engine


def _listen(engine: AsyncEngine, *, migrates: bool) -> None:
    # FULL: with write-ahead logging, NORMAL may forget on a power cut what was answered already.
    pragmas = ["synchronous=FULL", f"foreign_keys={'OFF' if migrates else 'ON'}"]
    if migrates:
        pragmas.insert(0, "journal_mode=WAL")  # written into the file: once is enough

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
        finally:
            cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def writing(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine, on the same connections, whose transactions may write."""
    return engine.execution_options(**{_WRITES: True})


class Database:
    """An open database: transactions that read and transactions that write.

    Parameters
    ----------
    engine : AsyncEngine
        Disposed of by :meth:`close`.

    Notes
    -----
    SQLite takes one writer at a time and lets the others sleep and try again, in no order.
    Writers of this process therefore queue here; the busy timeout is for other processes.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._readers = engine
        self._writers = writing(engine)
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    @property
    def dialect(self) -> str:
        """Name of the database: "sqlite" or "postgresql"."""
        return self._readers.dialect.name

    async def close(self) -> None:
        """Let transactions end and close all connections; who asks afterwards is refused."""
        self._is_closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._readers.dispose()

    async def finish[R](self, work: Coroutine[Any, Any, R]) -> R:
        """Return what some work returns; it goes on when the caller is cancelled.

        See :func:`gramserve.catalog.facet.uninterrupted`.
        """
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose statements all see the same moment.

        Raises
        ------
        CatalogError
            When the database refuses.
        """
        self._check_open()
        try:
            async with self._readers.connect() as connection:
                yield connection
        except GramserveError:
            raise  # some of ours are OSErrors too
        except (SQLAlchemyError, OSError) as error:
            raise refusal(error) from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose changes land together, or not at all.

        Raises
        ------
        CatalogError
            When the database refuses.
        """
        async with AsyncExitStack() as stack:
            if self._turn is not None:
                await stack.enter_async_context(self._turn)
            self._check_open()
            try:
                async with self._writers.begin() as connection:
                    yield connection
            except GramserveError:
                raise  # some of ours are OSErrors too
            except (SQLAlchemyError, OSError) as error:
                raise refusal(error) from error

    def insert(self, table: Table) -> postgresql.Insert:
        """Return an INSERT that can say what happens when the row is there (ON CONFLICT)."""
        if self.dialect == "sqlite":
            # The two constructs have the same methods and no common class.
            return cast("postgresql.Insert", sqlite.insert(table))
        return postgresql.insert(table)

    def _check_open(self) -> None:
        if self._is_closed:
            raise CatalogError("the catalog is closed; open it again")


def refusal(error: Exception) -> CatalogError:
    """Return the CatalogError for what a database driver raised.

    Parameters
    ----------
    error : Exception
        From SQLAlchemy or, when there is no connection yet, from the driver.

    Returns
    -------
    CatalogError
        With the driver's words and a remedy.
    """
    text = str(getattr(error, "orig", None) or error)
    remedy = next(
        (remedy for symptom, remedy in _REMEDIES.items() if symptom in text.lower()),
        "try again; if it stays, this is a fault of gramserve",
    )
    return CatalogError(f"the catalog's database refuses: {text}; {remedy}")
