"""An executor whose block tasks fail as a table in the store directory says."""

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gram_work import FailureTable

from gramserve.blocks import BlockResult, Failure
from gramserve.blocks.task import BlockTask
from gramserve.blocks.worker import worker_name


@dataclass(frozen=True)
class FailingTask:
    """Runs a block task; blocks that the table names fail instead."""

    task: BlockTask
    folder: str
    pause_s: float = 0.0

    def run(self):
        table = FailureTable(self.folder)
        results = []
        for block in self.task.blocks:
            how = table.attempt(block)
            time.sleep(self.pause_s)
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if how is None:
                results += replace(self.task, blocks=(block,)).run()
                continue
            failure = {
                "raise": Failure("block", "injected"),
                "hopeless": Failure("non_finite_kernel", "injected NaN", retryable=False),
                "full": Failure("storage_full", "no space left (injected)", is_outage=True),
            }[how]
            results.append(BlockResult(block, 0.0, worker_name(), "none", "none", failure=failure))
        return results


class FailingExecutor:
    """Wraps block tasks on their way to a real executor."""

    def __init__(self, executor, folder, pause_s=0.0):
        self._executor, self._folder, self._pause_s = executor, str(folder), pause_s
        self.slots = executor.slots

    @contextmanager
    def session(self, priority=0):
        with self._executor.session(priority) as session:
            yield FailingSession(session, self._folder, self._pause_s)

    def close(self):
        self._executor.close()


class FailingSession:
    def __init__(self, session, folder, pause_s):
        self._session, self._folder, self._pause_s = session, folder, pause_s
        self._own = {}

    def submit(self, task, **how):
        sent = (
            FailingTask(task, self._folder, self._pause_s) if isinstance(task, BlockTask) else task
        )
        self._own[id(sent)] = (sent, task)
        self._session.submit(sent, **how)

    def poll(self, timeout_s):
        return [
            replace(completion, task=self._own.pop(id(completion.task))[1])
            for completion in self._session.poll(timeout_s)
        ]

    def drop_waiting(self):
        return [self._own.pop(id(sent))[1] for sent in self._session.drop_waiting()]

    def wake(self):
        self._session.wake()
