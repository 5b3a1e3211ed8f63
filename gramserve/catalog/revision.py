"""The gate: a database is brought to today's revision when it is opened, or refused.

The revision is in the table ``gramserve_revision``. A database of an older revision is upgraded
in one transaction; two servers that start at once on one database wait for each other.
"""

import asyncio
import random
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gramserve.catalog.database import build_engine, refusal, writing
from gramserve.catalog.tables import metadata
from gramserve.errors import CatalogError, CatalogRevisionError, GramserveError

VERSION_TABLE = "gramserve_revision"
"""Table that holds the revision of a database; also the mark by which ours are known."""

# Any number, the same for every server: it names the lock that migrations take on PostgreSQL.
_ADVISORY_LOCK = 0x6772616D
_BUSY_TRIES = 200


def newest_revision() -> str:
    """Return the revision of the tables in :mod:`gramserve.catalog.tables`.

    Examples
    --------
    >>> newest_revision() >= "0001"
    True
    """
    return str(ScriptDirectory.from_config(migration_config()).get_current_head())


def migration_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, without an ini file.

    Parameters
    ----------
    connection : sqlalchemy.Connection, optional
        In a transaction; what ``alembic.command`` functions work on.

    Returns
    -------
    alembic.config.Config
    """
    config = Config()
    steps = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(steps).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def bring_up_to_date(url: URL) -> None:
    """Make the tables of a new database, upgrade an older one, refuse any other.

    Parameters
    ----------
    url : sqlalchemy.engine.URL
        As :func:`gramserve.catalog.place.parse_place` returns it.

    Raises
    ------
    CatalogRevisionError
        When the database is of a revision that this version does not know; names both.
    CatalogError
        When it is a database of something else, or refuses.
    """
    engine = build_engine(url, migrates=True)
    try:
        await _switch_journal(engine)
        async with writing(engine).begin() as connection:
            await connection.run_sync(upgrade_connection)
    except GramserveError:
        raise
    except (SQLAlchemyError, OSError) as error:
        raise refusal(error) from error
    finally:
        await engine.dispose()


async def _switch_journal(engine: AsyncEngine) -> None:
    """Connect once: that sets the journal mode, for which SQLite does not wait when busy."""
    for left in reversed(range(_BUSY_TRIES)):
        try:
            async with engine.connect():
                return
        except OperationalError as error:
            if not left or "locked" not in str(error.orig):
                raise
            await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - no secret


def upgrade_connection(connection: Connection) -> None:
    """Do the work of :func:`bring_up_to_date` in the caller's transaction.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        In a transaction that holds the right to write.

    Raises
    ------
    CatalogRevisionError, CatalogError
        As :func:`bring_up_to_date`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _ADVISORY_LOCK})
    config = migration_config(connection)
    script = ScriptDirectory.from_config(config)
    found = current_revision(connection)
    if found is None:
        _refuse_foreign_tables(connection)
    elif found not in {step.revision for step in script.walk_revisions()}:
        raise CatalogRevisionError(
            f"the catalog {_name(connection)} is of revision {found!r}, which this version of "
            f"gramserve does not know (its newest is {newest_revision()!r}); install the "
            "version that made it, or a newer one, or start with another data directory",
            found=found,
            newest=newest_revision(),
        )
    if found == newest_revision():
        return
    command.upgrade(config, "head")
    _check_foreign_keys(connection)


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database; None when it has none yet.

    Parameters
    ----------
    connection : sqlalchemy.Connection

    Returns
    -------
    str or None
    """
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _refuse_foreign_tables(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
    if connection.dialect.name != "sqlite":
        # A PostgreSQL schema may be shared; only our own names must be free.
        tables &= set(metadata.tables)
    if tables:
        raise CatalogError(
            f"{_name(connection)} holds tables that are not gramserve's "
            f"({', '.join(sorted(tables)[:5])}); name another database"
        )


def _check_foreign_keys(connection: Connection) -> None:
    """Look for rows that a step has orphaned, since SQLite was told not to."""
    if connection.dialect.name != "sqlite":
        return
    orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
    if orphans:
        raise CatalogError(
            f"upgrading {_name(connection)} would leave {len(orphans)} rows of table "
            f"{orphans[0][0]!r} without their parents; nothing was changed, keep the version "
            "of gramserve that made it and report this"
        )


def _name(connection: Connection) -> str:
    return connection.engine.url.database or "the database"
