"""Who asks, and whether they may: bearer keys of the catalog."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gramserve.catalog import Catalog, KeyRecord
from gramserve.errors import AccessError
from gramserve.service.state import ServiceState

_bearer = HTTPBearer(auto_error=False, description="An API key; `gramserve keys create` makes one.")
_BEARER = "bearer"

FIRST_KEY_NAME = "first admin key"
"""What the key is called that a server has from its first start."""


async def authenticate(catalog: Catalog, header: str | None, scope: str) -> KeyRecord:
    """Return the key of a request, if it may do what is asked.

    Parameters
    ----------
    catalog : Catalog
        Knows the keys.
    header : str or None
        The ``Authorization`` header.
    scope : str
        What the request needs.

    Returns
    -------
    KeyRecord
        The caller's key.

    Raises
    ------
    AccessError
        Status 401 without a valid key, 403 with one that may not do this.
    """
    kind, _, secret = (header or "").partition(" ")
    secret = secret.strip()
    if kind.lower() != _BEARER or not secret:
        msg = "no API key; send one as `Authorization: Bearer KEY`"
        raise AccessError(msg, status=401)
    key = await catalog.authenticate(secret)
    if key is None:
        raise AccessError("this API key is unknown, over or revoked", status=401)
    if not key.allows(scope):
        msg = f"this needs the scope {scope!r}; the key {key.name!r} has {', '.join(key.scopes)}"
        raise AccessError(msg, status=403, scope=scope)
    return key


def _requires(scope: str) -> Callable[..., Awaitable[KeyRecord]]:
    async def check(
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> KeyRecord:
        state: ServiceState = request.app.state.service
        return await authenticate(state.catalog, request.headers.get("authorization"), scope)

    return check


Reader = Annotated[KeyRecord, Depends(_requires("read"))]
"""The key of a request that looks."""

Submitter = Annotated[KeyRecord, Depends(_requires("submit"))]
"""The key of a request that uploads, computes or cancels."""

Admin = Annotated[KeyRecord, Depends(_requires("admin"))]
"""The key of a request that deletes or manages keys."""


async def ensure_first_key(catalog: Catalog, secret: str | None) -> str | None:
    """Make sure that somebody can use the server.

    Parameters
    ----------
    catalog : Catalog
        Of the server.
    secret : str or None
        The key from the settings.

    Returns
    -------
    str or None
        The secret of a key that was generated now: there was none in the settings and none in
        the catalog. It is kept nowhere and must be shown.
    """
    if secret is not None:
        await catalog.add_key(secret, name=FIRST_KEY_NAME, scopes=["admin"])
        return None
    if await catalog.keys():
        return None
    _, generated = await catalog.create_key(FIRST_KEY_NAME, ["admin"])
    return generated
