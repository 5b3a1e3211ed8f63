"""Long work that somebody started and looks at now and then: one of a kind at a time."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

import structlog

from gramserve.errors import ConflictError, GramserveError

_log = structlog.get_logger(__name__)


class Chore[Report]:
    """A background task with a report.

    Parameters
    ----------
    name : str
        What it is, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._should_stop = False
        self.report: Report | None = None
        """The latest report of the present or the last run; None before the first."""

    @property
    def is_running(self) -> bool:
        """Whether it goes on now."""
        return self._task is not None and not self._task.done()

    def should_stop(self) -> bool:
        """Whether it has been asked to end; the work looks at this."""
        return self._should_stop

    def start(
        self,
        work: Callable[[], Coroutine[object, object, None]],
        on_failure: Callable[[str], None],
    ) -> None:
        """Begin.

        Parameters
        ----------
        work : coroutine function
            Sets :attr:`report` as it goes on, and before it first waits.
        on_failure : callable
            Told what ended the work before its time.

        Raises
        ------
        ConflictError
            When one goes on already.
        """
        if self.is_running:
            raise ConflictError(f"{self._name} goes on already; look at it, or stop it first")
        self._should_stop = False

        async def guarded() -> None:
            try:
                await work()
            except GramserveError as error:
                on_failure(str(error))
            except Exception as error:
                _log.exception("chore failed", chore=self._name)
                on_failure(f"{type(error).__name__}: {error}")

        self._task = asyncio.create_task(guarded(), name=self._name)

    async def stop(self) -> None:
        """End it soon, and wait for the end; no error when none goes on."""
        self._should_stop = True
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
