"""Where a catalog may lie."""

import sqlite3
from pathlib import Path

import pytest

from gramserve.catalog import Catalog, place
from gramserve.catalog.place import file_system_of, parse_place
from gramserve.errors import CatalogError

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
//nas/lab /mnt/lab\\040data cifs rw 0 0
/dev/sdb /home/ada/local xfs rw 0 0
tmpfs /run tmpfs rw 0 0
server:/run /run nfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada", "nfs4"),
        ("/homestead", "ext4"),
        ("/home/ada/local/db", "xfs"),
        ("/mnt/lab data/db", "cifs"),
        ("/mnt/lab", "ext4"),
        ("/run/x", "nfs"),
    ],
)
def test_the_innermost_and_latest_mount_decides(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_without_mounts_nothing_is_known():
    assert file_system_of(Path("/srv"), "") is None


async def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch):
    mounts = tmp_path / "mounts"
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path}/share nfs4 rw 0 0\n")
    monkeypatch.setattr(place, "_MOUNTS", mounts)
    for directory in ("share", "link"):
        with pytest.raises(CatalogError, match=r"network file system \(nfs4\).*PostgreSQL"):
            await Catalog.open(tmp_path / directory / "catalog.sqlite")
    assert list((tmp_path / "share").iterdir()) == []
    async with await Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        await catalog.ping()


async def test_the_directory_is_made(tmp_path: Path):
    path = tmp_path / "a" / "b c?d#e%f" / "catalog.sqlite"
    async with await Catalog.open(path) as catalog:
        await catalog.create_key("x", ["read"])
    assert path.stat().st_size > 0


async def test_a_url_and_a_path_name_the_same_file(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(f"sqlite:///{path}") as catalog:
        await catalog.create_key("x", ["read"])
    async with await Catalog.open(str(path)) as catalog:
        assert len(await catalog.keys()) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "file of its own"),
        ("sqlite:///:memory:", "file of its own"),
        ("sqlite:///file:x?mode=memory&uri=true", "file of its own"),
        ("mysql://lab@db/grams", "does not know the database 'mysql'"),
        ("postgresql://lab:secret@db:port/grams", "URL cannot be read"),
    ],
)
def test_other_places_are_refused(url, words):
    with pytest.raises(CatalogError, match=words) as caught:
        parse_place(url)
    assert "secret" not in str(caught.value)


async def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path):
    (tmp_path / "state").write_text("not a directory")
    for path in (tmp_path / "state" / "catalog.sqlite", tmp_path / "state" / "x" / "c.sqlite"):
        with pytest.raises(CatalogError, match=r"cannot be opened.*this user may write"):
            await Catalog.open(path)
    assert (tmp_path / "state").read_text() == "not a directory"


async def test_a_directory_where_the_file_should_be_is_refused(tmp_path: Path):
    with pytest.raises(CatalogError, match="cannot be opened"):
        await Catalog.open(tmp_path)


async def test_garbage_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"The quick brown fox jumps over the lazy dog. " * 100)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match="is not an SQLite database; move it away"):
        await Catalog.open(path)
    assert path.read_bytes() == before


async def test_a_damaged_database_is_refused_with_a_remedy(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(CatalogError, match="move the file away"):
        await Catalog.open(path)


async def test_an_empty_file_becomes_a_catalog(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    path.touch()
    async with await Catalog.open(path) as catalog:
        await catalog.ping()


async def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(CatalogError, match=r"not gramserve's \(bookmarks\)"):
        await Catalog.open(path)
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("bookmarks",)]
