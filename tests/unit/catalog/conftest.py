"""A catalog in a real file; also in PostgreSQL when GRAMSERVE_TEST_DATABASE_URL names one.

The PostgreSQL database is emptied before every test.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gramserve.catalog import Catalog
from gramserve.catalog.database import build_engine
from gramserve.catalog.place import parse_place

POSTGRES = os.environ.get("GRAMSERVE_TEST_DATABASE_URL")


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES else [])])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "catalog.sqlite")
    engine = build_engine(parse_place(POSTGRES))
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return POSTGRES


@pytest.fixture
async def catalog(place: str) -> AsyncIterator[Catalog]:
    async with await Catalog.open(place) as opened:
        yield opened
