"""Wakes those of this process who wait for something to happen to a job."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Listeners by job; belongs to one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._is_silenced = False

    @property
    def is_silenced(self) -> bool:
        """Whether nothing will ring any more."""
        return self._is_silenced

    @contextmanager
    def listen(self, job: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the job's bell rings.

        Begin to listen before looking at the database; then nothing falls between.
        """
        event = asyncio.Event()
        if self._is_silenced:
            event.set()
        listeners = self._listeners.setdefault(job, set())
        listeners.add(event)
        try:
            yield event
        finally:
            listeners.discard(event)
            if not listeners and self._listeners.get(job) is listeners:
                del self._listeners[job]

    def ring(self, job: str) -> None:
        """Wake who listens to the job; call it after the transaction has landed."""
        for event in self._listeners.get(job, ()):
            event.set()

    def silence(self) -> None:
        """Wake everybody for the last time."""
        self._is_silenced = True
        for job in list(self._listeners):
            self.ring(job)
