"""Executors: where tasks run. The first one is a loop; the cluster keeps the same few verbs."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class Task(Protocol):
    """Something that runs in a worker process: small, picklable, told by ``run``."""

    def run(self) -> Any:
        """Do the work and return a small record."""
        ...


@dataclass(frozen=True)
class Completion:
    """A task that ended, one way or the other."""

    task: Task
    result: Any = None
    """What ``run`` returned; None when it raised."""
    error: BaseException | None = None
    """What it raised, or :class:`~gramserve.errors.WorkerLostError`."""


class Session(Protocol):
    """One user of an executor: its own tasks, completions and priority."""

    def submit(self, task: Task, *, urgent: bool = False) -> None:
        """Queue a task, an urgent one before all that are not."""
        ...

    def poll(self, timeout_s: float) -> list[Completion]:
        """Return tasks that ended, waiting up to ``timeout_s`` seconds for the first."""
        ...

    def wake(self) -> None:
        """Let a :meth:`poll` that waits in another thread return."""
        ...

    def drop_waiting(self) -> list[Task]:
        """Take back and return the tasks that no worker has begun."""
        ...


class Executor(Protocol):
    """Runs tasks; may be used by several threads, each with a session of its own."""

    @property
    def slots(self) -> int:
        """Tasks that run at once: it may change, and is 0 while no worker is there."""
        ...

    def session(self, priority: int = 0) -> AbstractContextManager[Session]:
        """Open a session; leaving it cancels what has not started."""
        ...

    def close(self) -> None:
        """Stop workers and free what they hold."""
        ...


class LoopSession:
    """Runs one task in the calling thread whenever it is polled."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._rung = threading.Event()

    def submit(self, task: Task, *, urgent: bool = False) -> None:
        """Queue a task; it runs in a later :meth:`poll`."""
        if urgent:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)

    def poll(self, timeout_s: float) -> list[Completion]:
        """Run the next task to its end, however long it takes; wait when there is none."""
        if not self._waiting:
            self._rung.wait(timeout_s)
            self._rung.clear()
            return []
        task = self._waiting.popleft()
        try:
            return [Completion(task, task.run())]
        except Exception as error:
            return [Completion(task, error=error)]

    def wake(self) -> None:
        """Let a :meth:`poll` that sleeps return."""
        self._rung.set()

    def drop_waiting(self) -> list[Task]:
        """Take back and return what has not started."""
        dropped = list(self._waiting)
        self._waiting.clear()
        return dropped


class LoopExecutor:
    """Runs tasks one after the other in the thread that polls: no processes, no network."""

    slots = 1

    @contextmanager
    def session(self, priority: int = 0) -> Iterator[LoopSession]:  # noqa: ARG002
        """Open a session; there is nothing to set a priority against."""
        session = LoopSession()
        try:
            yield session
        finally:
            session.drop_waiting()

    def close(self) -> None:
        """Do nothing: there is nothing to stop."""
