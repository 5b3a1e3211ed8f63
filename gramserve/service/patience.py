"""Patience with a catalog that does not take what must be written: a full disk, a lost database."""

import asyncio
from collections.abc import Awaitable, Callable

from gramserve.errors import CatalogError, IllegalTransitionError, JobNotFoundError

_PAUSE_S = 1.0


class Patience:
    """Writes again and again, and remembers why it has to.

    Parameters
    ----------
    should_stop : callable
        Asked after every refusal; True gives up.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.trouble: str | None = None
        """What the catalog answers at the moment, None while it takes everything."""
        self._should_stop = should_stop

    async def insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write something that nobody else will write, however long it takes.

        Parameters
        ----------
        write : callable
            Makes the attempt; may be called several times.

        Raises
        ------
        IllegalTransitionError, JobNotFoundError
            At once: another attempt would end in the same way.
        CatalogError
            When it should stop.
        """
        while True:
            try:
                await write()
            except (IllegalTransitionError, JobNotFoundError):
                raise
            except CatalogError as error:
                if self._should_stop():
                    raise
                self.trouble = str(error)
                await asyncio.sleep(_PAUSE_S)
            else:
                self.trouble = None
                return
