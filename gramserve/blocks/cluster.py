"""The Dask executor: worker processes of this machine, or any Dask scheduler by its address."""

import itertools
import logging
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from gramserve.blocks.card_workers import CardCluster
from gramserve.blocks.executor import Completion, Task
from gramserve.errors import DeviceLostError, WorkerLostError

_CONNECT_SECONDS = 20
_RESULT_SECONDS = 60
_STACK_SECONDS = 5
_COUNT_SECONDS = 0.2
"""Longest wait for the number of workers: a scheduler that lives answers within milliseconds."""

_SETTLE_SECONDS = 1.0
"""Who waited for an attempt to connect that failed does not try again at once."""

_URGENT = 500
"""Above every job's priority, below the rows of new items."""

# Ctrl-C reaches every process of a terminal. The one that was started decides what to do;
# workers that die of it would only add their tracebacks.
_IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
_KEPT_BYTES = 2**30
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Every layer allocates and frees arrays of a megabyte. Dask has workers hand freed memory
    # back at once; faulting its pages in again takes longer than computing in them.
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
}


def run_task(task: Task) -> Any:
    """Run a task in a worker process; Dask needs a function of a module.

    A process that has lost its device ends: its nanny starts another one, and Dask gives the task,
    of which stored blocks stay, to that one or to another worker.
    """
    try:
        return task.run()
    except DeviceLostError as error:
        sys.stderr.write(f"this worker ends and is started again: {error}\n")
        sys.stderr.flush()
        os._exit(1)


class DaskSession:
    """Submits tasks to Dask and receives them back through a queue."""

    def __init__(self, executor: "DaskExecutor", priority: int) -> None:
        self._executor = executor
        self._priority = priority
        self._ended: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._running: dict[str, tuple[Task, Future[Any]]] = {}
        self._name = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()

    def submit(self, task: Task, *, urgent: bool = False) -> None:
        """Hand a task to the scheduler, an urgent one before those of all jobs.

        Raises
        ------
        WorkerLostError
            When the scheduler cannot be reached.
        """
        client = self._executor.client()
        key = f"{type(task).__name__}-{self._name}-{next(self._numbers)}"
        priority = self._priority + (_URGENT if urgent else 0)
        future = client.submit(run_task, task, key=key, pure=False, priority=priority)
        self._running[key] = (task, future)
        future.add_done_callback(self._ended.put)

    def poll(self, timeout_s: float) -> list[Completion]:
        """Return tasks that ended, waiting up to ``timeout_s`` seconds for the first."""
        completions: list[Completion] = []
        try:
            future = self._ended.get(timeout=timeout_s)
            while True:
                if future is not None:
                    completions += self._collect(future)
                future = self._ended.get_nowait()
        except queue.Empty:
            return completions

    def wake(self) -> None:
        """Let a :meth:`poll` that waits in another thread return."""
        self._ended.put(None)

    def _collect(self, future: Future[Any]) -> list[Completion]:
        if future.key not in self._running:
            return []
        task, _ = self._running.pop(future.key)
        try:
            if future.status == "finished":
                return [Completion(task, future.result(timeout=_RESULT_SECONDS))]
            error = future.exception(timeout=_RESULT_SECONDS) if future.status == "error" else None
        except Exception as lost:
            error = WorkerLostError(f"the result of a task was lost: {lost}")
        finally:
            future.release()
        if isinstance(error, KilledWorker):
            error = WorkerLostError(
                "workers died again and again while they ran this task; a common cause is too "
                "little memory: use a smaller block_size or fewer workers; what a card failed of, "
                "their standard error says"
            )
        elif error is None:
            error = WorkerLostError("the Dask scheduler was lost while this task ran", outage=True)
        return [Completion(task, error=error)]

    def drop_waiting(self) -> list[Task]:
        """Cancel and return the tasks that no worker has begun."""
        begun = self._begun()
        waiting = {
            key: (task, future)
            for key, (task, future) in self._running.items()
            if key not in begun and not future.done()
        }
        for key in waiting:
            del self._running[key]
        if waiting and self._executor.is_connected:
            self._executor.client().cancel([future for _, future in waiting.values()])
        return [task for task, _ in waiting.values()]

    def _begun(self) -> set[str]:
        """Return the tasks that run now; none when nobody knows."""
        if not self._running or not self._executor.is_connected:
            return set()
        client = self._executor.client()
        try:
            stacks = client.sync(
                client.scheduler.call_stack,  # type: ignore[union-attr]
                keys=list(self._running),
                callback_timeout=_STACK_SECONDS,
            )
        except Exception:
            logging.getLogger(__name__).debug("what runs is not known", exc_info=True)
            return set()
        return {key for running in stacks.values() for key in running}

    def cancel(self) -> None:
        """Cancel what has not ended."""
        futures = [future for _, future in self._running.values()]
        self._running.clear()
        if futures and self._executor.is_connected:
            self._executor.client().cancel(futures)


class DaskExecutor:
    """Runs tasks on Dask workers.

    Parameters
    ----------
    address : str, optional
        Address of a Dask scheduler. Without one, a LocalCluster is started on first use,
        bound to 127.0.0.1.
    workers : int
        Worker processes of the LocalCluster.
    threads : int
        Threads of each.
    cards : sequence of str
        ``CUDA_VISIBLE_DEVICES`` of each worker of the LocalCluster, where it is one of one thread
        for each card instead.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int = 1,
        threads: int = 1,
        cards: Sequence[str] = (),
    ) -> None:
        self._address, self._cards = address, cards
        self._workers, self._threads = (len(cards), 1) if cards else (workers, threads)
        self._connecting = threading.Lock()
        self._failure: tuple[float, WorkerLostError] | None = None
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None
        self._closed = False
        self._counting: threading.Thread | None = None
        self._counted = 0

    @property
    def slots(self) -> int:
        """Tasks that run at once: threads of all workers; 0 while none is connected.

        Never waits for a scheduler that does not answer: the last known number is returned then.
        """
        if self._address is None:
            return self._workers * self._threads
        counting = self._counting
        if counting is None or not counting.is_alive():
            counting = threading.Thread(target=self._count, name="count-workers", daemon=True)
            self._counting = counting
            counting.start()
        counting.join(_COUNT_SECONDS)
        return self._counted

    def _count(self) -> None:
        try:
            self._counted = sum(self.client().nthreads().values())
        except (WorkerLostError, OSError, TimeoutError):
            self._counted = 0

    @property
    def is_connected(self) -> bool:
        """Whether a client is there and its scheduler answers."""
        client = self._client
        return client is not None and client.status == "running"

    def client(self) -> Client:
        """Return a client that is connected, making cluster and client anew where they died.

        May wait for as long as connecting takes; only threads of jobs and of requests that need
        workers come here.

        Raises
        ------
        WorkerLostError
            When the scheduler does not answer.
        """
        client = self._client
        if client is not None and client.status == "running" and not self._closed:
            return client
        asked = time.monotonic()
        with self._connecting:
            if self._closed:
                # An outage, not a failure of the block: a job whose server stops is not at fault.
                raise WorkerLostError("the executor is closed", outage=True)
            if self._failure is not None and self._failure[0] > asked - _SETTLE_SECONDS:
                raise self._failure[1]
            if not self.is_connected:
                self._reconnect()
            if self._client is None:
                raise WorkerLostError("the executor is closed", outage=True)
            return self._client

    def _reconnect(self) -> None:
        self._disconnect()
        try:
            self._connect()
        except (OSError, TimeoutError) as error:
            self._disconnect()
            where = self._address or "of this machine"
            lost = WorkerLostError(
                f"the Dask scheduler {where} does not answer: {error}", outage=True
            )
            self._failure = time.monotonic(), lost
            raise lost from error
        self._failure = None
        if self._closed:  # while it connected
            self._disconnect()

    def _connect(self) -> None:
        if self._address is None:
            with dask.config.set({"distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT}):
                self._cluster = self._start_cluster(
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    # The plan bounds memory; Dask pausing workers would only hide its errors.
                    memory_limit=None,
                    silence_logs=logging.CRITICAL,
                    preload=[_IGNORE_INTERRUPTS],
                )
        self._client = Client(
            self._cluster if self._cluster is not None else self._address,
            set_as_default=False,
            timeout=_CONNECT_SECONDS,
        )

    def _start_cluster(self, **options: Any) -> LocalCluster:
        if self._cards:
            return CardCluster(self._cards, **options)
        return LocalCluster(n_workers=self._workers, threads_per_worker=self._threads, **options)

    def _disconnect(self) -> None:
        for resource in (self._client, self._cluster):
            if resource is not None:
                try:
                    resource.close(timeout=5)
                except Exception:
                    logging.getLogger(__name__).debug("closing a lost connection", exc_info=True)
        self._client = self._cluster = None

    @contextmanager
    def session(self, priority: int = 0) -> Iterator[DaskSession]:
        """Open a session whose tasks go before those of lower priority."""
        session = DaskSession(self, priority)
        try:
            yield session
        finally:
            session.cancel()

    def close(self) -> None:
        """Stop client and LocalCluster; an external scheduler goes on."""
        self._closed = True
        # A thread that is connecting at the moment closes what it gets.
        patience = -1 if self._address is None else _SETTLE_SECONDS
        if self._connecting.acquire(timeout=patience):
            try:
                self._disconnect()
            finally:
                self._connecting.release()
