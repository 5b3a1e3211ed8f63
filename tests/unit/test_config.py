from pathlib import Path

import pytest
from pydantic import ValidationError

from gramserve.catalog import Catalog
from gramserve.config import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No setting of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GRAMSERVE_{name.upper()}", raising=False)


def test_every_field_is_read_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAMSERVE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GRAMSERVE_PORT", "0")
    monkeypatch.setenv("GRAMSERVE_API_KEY", "s" * 40)
    monkeypatch.setenv("GRAMSERVE_UNKNOWN", "is somebody else's")
    settings = Settings()
    assert settings.data_dir == tmp_path
    assert settings.port == 0
    assert "s" * 40 not in repr(settings)
    assert Settings(port=9000).port == 9000  # the command line goes first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("WORKERS", "-1"),
        ("ENGINE", "gpu"),
        ("LOG_LEVEL", "loud"),
        ("CONCURRENT_JOBS", "0"),
        ("ROW_CACHE_BYTES", "-1"),
    ],
)
def test_wrong_values_name_their_setting(monkeypatch, name, value):
    monkeypatch.setenv(f"GRAMSERVE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_workers_share_three_quarters_of_the_memory():
    one = Settings(workers=1).memory_per_task_bytes
    assert Settings(workers=0).memory_per_task_bytes == one
    assert Settings(workers=4).memory_per_task_bytes == pytest.approx(one / 4, abs=1)
    assert Settings(workers=4, worker_memory_bytes=2**30).memory_per_task_bytes == 2**30
    shared = Settings(worker_memory_bytes=2**30, threads_per_worker=4)
    assert shared.memory_per_task_bytes == 2**28


def test_the_catalog_is_a_file_unless_a_database_is_named(tmp_path):
    assert Settings(data_dir=tmp_path).catalog_place == tmp_path / "catalog.sqlite"
    url = "postgresql://user@host/name"
    assert Settings(data_dir=tmp_path, database_url=url).catalog_place == url


async def test_a_state_directory_may_have_any_name(tmp_path):
    folder = tmp_path / "what? 100 % #1"
    folder.mkdir()
    async with await Catalog.open(Settings(data_dir=folder).catalog_place):
        assert (folder / "catalog.sqlite").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_without_a_directory_it_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings().data_dir == Path(tmp_path) / "gramserve"
