"""What every part of the catalog stands on."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate

from gramserve.catalog.bell import Bell
from gramserve.catalog.database import Database


class Facet:
    """One noun of the catalog: its methods, on the database that all nouns share.

    Parameters
    ----------
    database : Database
    bell : Bell
        Rung after every event that was written.
    """

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell


def uninterrupted[F: Facet, **P, R](
    method: Callable[Concatenate[F, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[F, P], Coroutine[Any, Any, R]]:
    """Let a method run to its end although its caller may be cancelled.

    A request whose client goes away is cancelled anywhere. The thread of an SQLite connection
    cannot be: it would finish a statement whose result nobody takes, and that result keeps the
    transaction, and with it the write lock, until it is collected. So transactions run in
    tasks of their own, which nobody cancels.

    Parameters
    ----------
    method : coroutine function
        A method of a facet.

    Returns
    -------
    coroutine function
    """

    @wraps(method)
    async def run(self: F, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._database.finish(method(self, *args, **kwargs))

    return run
