"""API keys in the catalog."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gramserve.catalog import Catalog
from gramserve.errors import CatalogError, ConflictError, SpecError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def contents(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def test_a_secret_opens_its_key_and_no_other(catalog):
    ada, secret = await catalog.create_key("ada", ["submit"])
    bob, _ = await catalog.create_key("bob", ["read"])
    assert secret.startswith("gs_")
    assert len(secret) == 3 + 43
    assert (await catalog.authenticate(secret)).id == ada.id != bob.id
    for wrong in ("", "gs_", secret[:-1], secret + "x", secret.lower(), ada.hash, ada.prefix):
        assert await catalog.authenticate(wrong) is None


async def test_the_secret_is_not_in_the_file(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    async with await Catalog.open(path) as catalog:
        record, secret = await catalog.create_key("ada", ["read"])
        await catalog.authenticate(secret)
        stored = contents(tmp_path)
    assert record.hash.encode() in stored
    assert secret.encode() not in stored
    assert secret[11:].encode() not in stored
    assert record.hash not in repr(record)
    assert secret not in repr(record)


async def test_scopes_include_the_weaker_ones(catalog):
    keys = {scope: (await catalog.create_key(scope, [scope]))[0] for scope in ("read", "submit")}
    assert keys["read"].allows("read")
    assert not keys["read"].allows("submit")
    assert keys["submit"].allows("read")
    assert not keys["submit"].allows("admin")
    admin, _ = await catalog.create_key("root", ["admin", "read"])
    assert admin.scopes == ("read", "admin")
    assert all(admin.allows(scope) for scope in ("read", "submit", "admin"))
    with pytest.raises(SpecError, match="'write'; known scopes are read, submit, admin"):
        admin.allows("write")


@pytest.mark.parametrize("scopes", [[], ["write"], ["read", "Admin"]])
async def test_unknown_scopes_are_refused(catalog, scopes):
    with pytest.raises(SpecError, match="known scopes are read, submit, admin"):
        await catalog.create_key("x", scopes)
    assert await catalog.keys() == []


async def test_a_key_ends_when_it_expires(catalog):
    _, secret = await catalog.create_key("ada", ["read"], NOW)
    assert await catalog.authenticate(secret, now=NOW - timedelta(seconds=1)) is not None
    # Both when it is still trusted and when it is looked up.
    assert await catalog.authenticate(secret, now=NOW) is None
    assert await catalog.authenticate(secret, now=NOW + timedelta(days=1)) is None
    (record,) = await catalog.keys()
    assert (record.expires, record.last_used) == (NOW, NOW - timedelta(seconds=1))


async def test_a_revoked_key_ends_at_once_and_stays_listed(catalog):
    record, secret = await catalog.create_key("ada", ["read"])
    assert await catalog.authenticate(secret) is not None
    revoked = await catalog.revoke_key(record.id)
    assert await catalog.authenticate(secret) is None
    assert (await catalog.revoke_key(record.prefix)).revoked == revoked.revoked
    assert [key.revoked for key in await catalog.keys()] == [revoked.revoked]
    with pytest.raises(CatalogError, match="0 API keys"):
        await catalog.revoke_key("nope")


async def test_a_key_revoked_elsewhere_ends_within_seconds(place, catalog):
    record, secret = await catalog.create_key("ada", ["read"])
    assert await catalog.authenticate(secret, now=NOW) is not None
    async with await Catalog.open(place) as elsewhere:
        await elsewhere.revoke_key(record.id)
    assert await catalog.authenticate(secret, now=NOW + timedelta(seconds=6)) is None


async def test_the_last_use_is_written_once_a_minute(catalog):
    _, secret = await catalog.create_key("ada", ["read"])
    seen = []
    for seconds in (0, 3, 30, 50, 61, 90, 122):
        await catalog.authenticate(secret, now=NOW + timedelta(seconds=seconds))
        (record,) = await catalog.keys()
        seen.append((record.last_used - NOW).total_seconds())
    assert seen == [0, 0, 0, 0, 61, 61, 122]


async def test_a_given_key_is_added_once_and_takes_new_scopes(catalog):
    secret = "correct horse battery staple correct horse"
    first = await catalog.add_key(secret, name="GRAMSERVE_API_KEY", scopes=["read"])
    await catalog.authenticate(secret)
    again = await catalog.add_key(secret, name="GRAMSERVE_API_KEY", scopes=["admin"])
    assert (again.id, again.scopes) == (first.id, ("admin",))
    assert (await catalog.authenticate(secret)).allows("admin")
    assert len(await catalog.keys()) == 1


async def test_of_a_short_secret_almost_nothing_is_shown(catalog):
    assert (await catalog.add_key("secret", name="x", scopes=["read"])).prefix == "se"


async def test_an_empty_key_is_refused(catalog):
    with pytest.raises(SpecError, match="cannot be empty"):
        await catalog.add_key(" ", name="x", scopes=["read"])


async def test_a_revoked_key_does_not_come_back(catalog):
    record = await catalog.add_key("s" * 40, name="x", scopes=["admin"])
    await catalog.revoke_key(record.id)
    with pytest.raises(ConflictError, match="was revoked on"):
        await catalog.add_key("s" * 40, name="x", scopes=["admin"])
    assert await catalog.authenticate("s" * 40) is None
