"""API keys: random secrets of which only hashes are kept."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, or_, select, update
from sqlalchemy.engine import Row

from gramserve.catalog import tables
from gramserve.catalog.bell import Bell
from gramserve.catalog.database import Database
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.records import KeyRecord
from gramserve.catalog.scopes import check_scopes
from gramserve.catalog.times import utc_now
from gramserve.errors import CatalogError, ConflictError, SpecError

_keys = tables.keys
_PREFIX = "gs_"
_SHOWN_CHARACTERS = 8
_USED_EVERY = timedelta(minutes=1)
_TRUSTED_FOR = timedelta(seconds=5)
_TRUSTED_KEYS = 1024


def _record(row: Row[Any]) -> KeyRecord:
    fields = dict(row._mapping)
    return KeyRecord(**{**fields, "scopes": tuple(fields["scopes"])})


def _is_over(record: KeyRecord, at: datetime) -> bool:
    return record.expires is not None and record.expires <= at


def _hash(secret: str) -> str:
    # A secret of 32 random bytes cannot be guessed, so a slow password hash protects nothing.
    return hashlib.sha256(secret.encode()).hexdigest()


class Keys(Facet):
    """The API keys of a catalog; see :mod:`gramserve.catalog.scopes` for what they allow."""

    def __init__(self, database: Database, bell: Bell) -> None:
        super().__init__(database, bell)
        self._trusted: dict[str, tuple[KeyRecord, datetime]] = {}

    async def create_key(
        self, name: str, scopes: Iterable[str], expires: datetime | None = None
    ) -> tuple[KeyRecord, str]:
        """Make a key.

        Parameters
        ----------
        name : str
            For people.
        scopes : iterable of str
            What it allows.
        expires : datetime, optional
            When it ends; aware.

        Returns
        -------
        KeyRecord
            What is kept.
        str
            The secret, ``gs_`` and 32 random bytes; it is kept nowhere and shown only now.

        Raises
        ------
        SpecError
            When a scope does not exist.
        """
        secret = _PREFIX + secrets.token_urlsafe(32)
        return await self.add_key(secret, name=name, scopes=scopes, expires=expires), secret

    @uninterrupted
    async def add_key(
        self,
        secret: str,
        *,
        name: str,
        scopes: Iterable[str],
        expires: datetime | None = None,
    ) -> KeyRecord:
        """Make a key of a given secret; one that is there takes the new name, scopes and end.

        Parameters
        ----------
        secret : str
            What the user will send; long and random.
        name : str
            For people.
        scopes : iterable of str
            What it allows.
        expires : datetime, optional
            When it ends; aware.

        Returns
        -------
        KeyRecord

        Raises
        ------
        SpecError
            When a scope does not exist or the secret is empty.
        ConflictError
            When the key was revoked: a leaked secret must not come back with a restart.
        """
        if not secret.strip():
            raise SpecError("an API key cannot be empty; give a long random one, or none at all")
        fields: dict[str, Any] = {
            "name": name,
            "scopes": list(check_scopes(scopes)),
            "expires": expires,
        }
        hash_ = _hash(secret)
        # Of a short secret that somebody chose, even the first characters would be too many.
        shown = secret[: len(_PREFIX) + _SHOWN_CHARACTERS] if len(secret) >= 32 else secret[:2]
        async with self._database.write() as connection:
            query = select(_keys).where(_keys.c.hash == hash_)
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                new = {"id": secrets.token_hex(8), "hash": hash_, "prefix": shown}
                await connection.execute(insert(_keys).values(**fields, **new, created=utc_now()))
            elif row.revoked is not None:
                raise ConflictError(
                    f"the API key {row.prefix}... was revoked on {row.revoked:%Y-%m-%d}; "
                    "use another one",
                    key=row.id,
                )
            else:
                await connection.execute(
                    update(_keys).where(_keys.c.hash == hash_).values(**fields)
                )
            record = _record((await connection.execute(query)).one())
        self._trusted.pop(hash_, None)
        return record

    async def authenticate(self, secret: str, *, now: datetime | None = None) -> KeyRecord | None:
        """Return the key of a secret, if it is there, valid and not over.

        Parameters
        ----------
        secret : str
            What the user sent.
        now : datetime, optional
            The present moment.

        Returns
        -------
        KeyRecord or None

        Notes
        -----
        Rows are asked for thousands of times a second, so a key that was valid is trusted for
        five seconds without a look at the database. A key revoked through this catalog ends at
        once, one revoked by another process within these seconds.
        """
        at = now or utc_now()
        hash_ = _hash(secret)
        record, seen = self._trusted.get(hash_, (None, at))
        if record is None or not at - _TRUSTED_FOR <= seen <= at:
            record = await self._find_valid(hash_, at)
            if record is None:
                return None
            self._trust(record, at)
        return None if _is_over(record, at) else record

    def _trust(self, record: KeyRecord, at: datetime) -> None:
        if len(self._trusted) >= _TRUSTED_KEYS:
            self._trusted.clear()
        self._trusted[record.hash] = (record, at)

    @uninterrupted
    async def _find_valid(self, hash_: str, at: datetime) -> KeyRecord | None:
        """Look a key up, and write the moment of use at most once a minute."""
        query = select(_keys).where(_keys.c.hash == hash_)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        # The lookup by a hash tells nothing about a secret; the comparison keeps it so should
        # the lookup ever become a looser one.
        if row is None or not hmac.compare_digest(row.hash, hash_):
            return None
        record = _record(row)
        if record.revoked is not None or _is_over(record, at):
            return None
        long_ago = at - _USED_EVERY
        if record.last_used is not None and record.last_used > long_ago:
            return record
        statement = (
            update(_keys)
            .where(_keys.c.id == record.id)
            .where(or_(_keys.c.last_used.is_(None), _keys.c.last_used <= long_ago))
            .values(last_used=at)
        )
        try:
            async with self._database.write() as connection:
                await connection.execute(statement)
        except CatalogError:
            return record  # a full disk must not keep people from reading
        return replace(record, last_used=at)

    @uninterrupted
    async def keys(self) -> list[KeyRecord]:
        """Return all keys, also those that are over or revoked, the newest first."""
        query = select(_keys).order_by(_keys.c.created.desc(), _keys.c.id)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(query)]

    @uninterrupted
    async def revoke_key(self, id: str) -> KeyRecord:  # noqa: A002
        """End a key now and for good; ending it twice is no error.

        Parameters
        ----------
        id : str
            Id of the key, or the characters of its secret that are kept.

        Returns
        -------
        KeyRecord

        Raises
        ------
        CatalogError
            When there is none, or the characters fit several.
        """
        query = select(_keys).where(or_(_keys.c.id == id, _keys.c.prefix == id))
        async with self._database.write() as connection:
            rows = (await connection.execute(query)).all()
            if len(rows) != 1:
                raise CatalogError(
                    f"{len(rows)} API keys are named {id!r}; name one by the id in the list of keys"
                )
            record = _record(rows[0])
            if record.revoked is None:
                record = replace(record, revoked=utc_now())
                await connection.execute(
                    update(_keys).where(_keys.c.id == record.id).values(revoked=record.revoked)
                )
        self._trusted.pop(record.hash, None)
        return record
