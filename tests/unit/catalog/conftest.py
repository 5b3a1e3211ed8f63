"""A catalog in a real file; also in PostgreSQL when GRAMSERVE_TEST_DATABASE_URL names one.

The PostgreSQL database is emptied before every test.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from catalog_seeds import DATABASES, new_database

from gramserve.catalog import Catalog


@pytest.fixture(params=DATABASES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return await new_database(request.param, tmp_path)


@pytest.fixture
async def catalog(place: str) -> AsyncIterator[Catalog]:
    async with await Catalog.open(place) as opened:
        yield opened
