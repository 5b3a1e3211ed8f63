"""An engine that computes nothing, for what everything around an engine costs.

It stands in for the CPU engine in the processes that ask for it: blocks are planned, handed out,
written and recorded as real ones, only their values are ones.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gramserve.blocks import BlockResult, GramWork
from gramserve.blocks.task import BlockTask
from gramserve.blocks.worker import worker_name
from gramserve.kernels import engine as registry


class NullEngine:
    """Every kernel of every pair is one."""

    name = "cpu"
    device = "none"
    about = "computes nothing"

    def missing(self):
        return None

    def refusal(self, _spec, _precision):
        return None

    def warm(self):
        pass

    def temporary_bytes(self, _spec, _item_shape, _precision):
        return 0

    def variance_length(self, _spec, _item_shape):
        return 0

    def evaluate(self, spec, rows, columns, _precision, **_):
        shape = (len(rows.values), len(columns.values))
        return {name: np.ones(shape, np.float32) for name in spec.outputs}


def install_null_engine(*, is_stored=True):
    """Let this process compute nothing; return what undoes it.

    Where nothing is stored either, nobody looks in the end whether it is.
    """
    real, look = registry.ENGINES["cpu"], GramWork.is_stored
    registry.ENGINES["cpu"] = NullEngine()
    if not is_stored:
        GramWork.is_stored = lambda _: True

    def undo():
        registry.ENGINES["cpu"] = real
        GramWork.is_stored = look

    return undo


@dataclass(frozen=True)
class NullTask:
    """A task in a process that gets the engine first."""

    task: Any
    is_stored: bool = True
    """Whether blocks are written; if not, tasks only say that they were."""

    def run(self):
        if isinstance(self.task, BlockTask) and not self.is_stored:
            worker = worker_name()
            sums = tuple((name, "0" * 16) for name, _ in self.task.grams)
            return [
                BlockResult(block, 1e-5, worker, "cpu", "none", sums) for block in self.task.blocks
            ]
        if not isinstance(registry.ENGINES["cpu"], NullEngine):
            install_null_engine()
        return self.task.run()


class NullExecutor:
    """Sends tasks to a real executor whose workers compute nothing."""

    def __init__(self, executor, *, is_stored=True):
        self._executor = executor
        self.is_stored = is_stored
        self.submitted = 0

    @property
    def slots(self):
        return self._executor.slots

    @contextmanager
    def session(self, priority=0):
        with self._executor.session(priority) as session:
            yield NullSession(session, self)

    def close(self):
        self._executor.close()


class NullSession:
    """A session that wraps every task and unwraps its completion."""

    def __init__(self, session, executor):
        self._session = session
        self._executor = executor
        self._own = {}

    def submit(self, task, **how):
        sent = NullTask(task, self._executor.is_stored)
        self._own[id(sent)] = task
        self._executor.submitted += 1
        self._session.submit(sent, **how)

    def poll(self, timeout_s):
        return [
            replace(completion, task=self._own.pop(id(completion.task)))
            for completion in self._session.poll(timeout_s)
        ]

    def drop_waiting(self):
        return [self._own.pop(id(sent)) for sent in self._session.drop_waiting()]

    def wake(self):
        self._session.wake()
