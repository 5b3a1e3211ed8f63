"""The revision gate and the migrations."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from catalog_seeds import add_gram, add_job, run_job
from sqlalchemy import inspect, text

from gramserve.catalog import Catalog, revision
from gramserve.catalog.database import build_engine, writing
from gramserve.catalog.place import parse_place
from gramserve.catalog.revision import (
    VERSION_TABLE,
    current_revision,
    migration_config,
    newest_revision,
)
from gramserve.catalog.tables import metadata
from gramserve.errors import CatalogError, CatalogRevisionError


async def on(place, work):
    """Do something synchronous in one writing transaction."""
    engine = build_engine(parse_place(place), migrates=True)
    try:
        async with writing(engine).begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def differences(connection):
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    context = MigrationContext.configure(connection, opts=options)
    return compare_metadata(context, metadata)


def table_names(connection):
    return set(inspect(connection).get_table_names())


async def test_migrations_make_the_tables_of_today(place):
    async with await Catalog.open(place):
        pass
    assert await on(place, differences) == []
    assert await on(place, table_names) == {*metadata.tables, VERSION_TABLE}
    assert await on(place, current_revision) == newest_revision()


async def test_the_comparison_would_notice_a_difference(place):
    async with await Catalog.open(place):
        pass
    await on(place, lambda c: c.execute(text("ALTER TABLE keys ADD COLUMN colour VARCHAR(8)")))
    assert [change[0] for change in await on(place, differences)] == ["remove_column"]


async def test_down_and_up_again(place):
    async with await Catalog.open(place):
        pass
    await on(place, lambda c: command.downgrade(migration_config(c), "base"))
    assert await on(place, table_names) == {VERSION_TABLE}
    async with await Catalog.open(place) as catalog:
        await catalog.create_key("x", ["read"])
    assert await on(place, differences) == []


async def test_opening_again_keeps_everything(place):
    async with await Catalog.open(place) as catalog:
        _, secret = await catalog.create_key("x", ["read"])
    async with await Catalog.open(place) as catalog:
        assert await catalog.authenticate(secret) is not None


async def test_a_newer_database_is_refused_and_left_alone(place):
    async with await Catalog.open(place):
        pass
    await on(place, lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")))
    with pytest.raises(CatalogRevisionError, match=r"revision '9999'.*newest is") as caught:
        await Catalog.open(place)
    assert repr(newest_revision()) in str(caught.value)
    assert "install the version that made it" in str(caught.value)
    assert caught.value.context == {"found": "9999", "newest": newest_revision()}
    assert await on(place, current_revision) == "9999"
    assert await on(place, table_names) == {*metadata.tables, VERSION_TABLE}


async def test_a_step_that_breaks_leaves_nothing_behind(place, monkeypatch):
    upgrade = command.upgrade

    def break_at_the_end(config, target):
        upgrade(config, target)
        raise CatalogError("broken")

    monkeypatch.setattr(revision.command, "upgrade", break_at_the_end)
    with pytest.raises(CatalogError, match="broken"):
        await Catalog.open(place)
    assert await on(place, table_names) == set()
    monkeypatch.undo()
    async with await Catalog.open(place):
        pass


async def test_orphans_of_a_step_are_noticed(tmp_path: Path, monkeypatch):
    path = tmp_path / "catalog.sqlite"
    upgrade = command.upgrade

    def orphan(config, target):
        upgrade(config, target)
        config.attributes["connection"].execute(
            text(
                "INSERT INTO events (job, at, kind, data) VALUES ('x', '2026-01-01', 'state', '{}')"
            )
        )

    monkeypatch.setattr(revision.command, "upgrade", orphan)
    with pytest.raises(CatalogError, match="1 rows of table 'events' without their parents"):
        await Catalog.open(path)
    assert await on(path, table_names) == set()


async def test_sqlite_is_set_up_as_it_must_be(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(path) as catalog, catalog._database.read() as connection:
        found = {
            pragma: await connection.scalar(text(f"PRAGMA {pragma}"))
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30000,
    }


async def test_a_writing_transaction_holds_the_lock_from_its_beginning(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(path) as catalog:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            async with catalog._database.read():
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
            async with catalog._database.write():
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")


async def test_a_database_that_stays_locked_says_so(tmp_path: Path, monkeypatch):
    path = tmp_path / "catalog.sqlite"
    monkeypatch.setattr("gramserve.catalog.database._BUSY_TIMEOUT_S", 0.01)
    async with await Catalog.open(path) as catalog:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CatalogError, match="locked; another process holds the write lock"):
                await catalog.create_key("x", ["read"])
            assert await catalog.keys() == []
        await catalog.create_key("x", ["read"])


async def test_jobs_that_an_older_version_was_running_are_queued_again(place):
    async with await Catalog.open(place) as catalog:
        await add_gram(catalog)
        job = await run_job(catalog, await add_job(catalog))
    await on(place, lambda c: command.downgrade(migration_config(c), "0003"))
    async with await Catalog.open(place) as catalog:
        assert (await catalog.job(job.id)).state == "running"
        _, moved = await catalog.open_dispatcher()
        assert [(found.id, found.state) for found in moved] == [(job.id, "queued")]
        assert [event.kind for event in await catalog.events_after(job.id)] == ["state"] * 4
    assert await on(place, differences) == []
