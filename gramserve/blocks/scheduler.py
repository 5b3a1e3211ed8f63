"""The scheduler: makes every missing block of a Gram matrix, once."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gramserve.blocks.executor import Completion, Executor, Session, Task
from gramserve.blocks.ledger import Failure, Group, Ledger, Policy
from gramserve.blocks.task import BlockResult, BlockTask, VarianceTask
from gramserve.blocks.work import GramWork
from gramserve.errors import GramserveError, WorkerLostError
from gramserve.plan import BlockIndex

_POLL_SECONDS = 0.2
"""Longest wait for a completion, so that a request to stop is soon seen."""

_SLOTS_SECONDS = 5.0
"""How often workers are counted, that join or leave while a job runs."""

_NO_WORKERS = "no worker is connected; it goes on when one is"


@dataclass(frozen=True)
class Progress:
    """How far a run is; handed to the observer after every change."""

    total: int
    """Blocks of the grid."""
    done: int
    """Blocks stored, before this run or in it."""
    reused: int
    """Of these, stored before this run."""
    failed: int
    """Blocks set aside."""
    in_flight: int
    """Blocks handed out."""
    entries: int
    """Entries computed in this run."""
    stage: str
    """"variances" or "blocks"."""
    waiting_reason: str | None = None
    """Why nothing is handed out, or None."""
    results: tuple[BlockResult, ...] = ()
    """Blocks that were stored or failed since the last progress."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    total: int
    done: int
    reused: int
    failed: dict[BlockIndex, Failure] = field(default_factory=dict)
    """Blocks set aside, with their last failure."""
    stopped: bool = False
    """Whether it was asked to stop before the end."""

    @property
    def is_complete(self) -> bool:
        """Whether every block is stored."""
        return self.done == self.total


Observer = Callable[[Progress], None]
StopSign = Callable[[], bool]


@dataclass
class _Run:
    """What one run knows of itself."""

    work: GramWork
    observer: Observer
    total: int
    reused: int
    done: int
    entries: int = 0
    stage: str = "blocks"
    slots: int = 1

    def waiting_reason(self, ledger: Ledger) -> str | None:
        """Return why nothing is computed now, or None."""
        return ledger.waiting_reason or (None if self.slots else _NO_WORKERS)

    def report(self, ledger: Ledger | None, results: Sequence[BlockResult] = ()) -> None:
        self.observer(
            Progress(
                total=self.total,
                done=self.done,
                reused=self.reused,
                failed=len(ledger.set_aside) if ledger and self.stage == "blocks" else 0,
                in_flight=ledger.in_flight if ledger else 0,
                entries=self.entries,
                stage=self.stage,
                waiting_reason=self.waiting_reason(ledger) if ledger else None,
                results=tuple(results),
            )
        )


class Scheduler:
    """Runs the missing blocks of a Gram matrix on an executor.

    Stored blocks are the truth: a run lists them, computes the others, and keeps no memory of
    its own. A run that is stopped or killed loses the blocks in flight, nothing else.

    Parameters
    ----------
    executor : Executor
        Where tasks run.
    policy : Policy, optional
        How patient to be with failures.
    priority : int
        Of the tasks, against other sessions of the executor.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        policy: Policy | None = None,
        priority: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._policy = policy or Policy()
        self._priority = priority
        self._clock = clock

    def run(
        self,
        work: GramWork,
        observer: Observer = lambda _: None,
        should_stop: StopSign = lambda: False,
    ) -> RunOutcome:
        """Compute what is missing, and return when all is stored or set aside.

        Parameters
        ----------
        work : GramWork
            From :func:`gramserve.blocks.open_work`.
        observer : callable
            Called with a :class:`Progress` after every change, in this thread.
        should_stop : callable
            Asked several times a second; True ends the run, blocks in flight are dropped.

        Returns
        -------
        RunOutcome
            What is stored and what was set aside.
        """
        stored = work.stored_blocks()
        total = work.grid.block_count
        run = _Run(work, observer, total, reused=len(stored), done=len(stored))
        run.report(None)
        if run.done == total:
            return RunOutcome(total, total, len(stored))
        with self._executor.session(self._priority) as session:
            failed, stopped = self._make_variances(run, session, should_stop)
            if failed:
                reason = next(iter(failed.values()))
                missing = (block for block in work.grid.blocks() if block not in stored)
                return RunOutcome(total, run.done, run.reused, dict.fromkeys(missing, reason))
            if stopped:
                return RunOutcome(total, run.done, run.reused, stopped=True)
            return self._make_blocks(run, session, stored, should_stop)

    def _make_variances(
        self, run: _Run, session: Session, should_stop: StopSign
    ) -> tuple[dict[BlockIndex, Failure], bool]:
        missing = run.work.missing_variances()
        ledger = Ledger(missing, len(missing), policy=self._policy)
        run.stage = "variances"

        def task(group: Group) -> Task:
            side = group[0][0]
            return VarianceTask(
                run.work.recipe,
                run.work.places[side],
                side,
                tuple(segment for _, segment in group),
            )

        stopped = self._drive(run, session, ledger, task, should_stop)
        run.stage = "blocks"
        return ledger.set_aside, stopped

    def _make_blocks(
        self, run: _Run, session: Session, stored: set[BlockIndex], should_stop: StopSign
    ) -> RunOutcome:
        work = run.work
        pending = (block for block in work.grid.blocks() if block not in stored)
        ledger = Ledger(pending, run.total - len(stored), policy=self._policy)

        def task(group: Group) -> Task:
            rows, columns = work.places[0], work.places[-1]
            return BlockTask(work.recipe, rows, columns, work.grid, work.grams, group)

        stopped = self._drive(run, session, ledger, task, should_stop)
        return RunOutcome(run.total, run.done, run.reused, ledger.set_aside, stopped)

    def _drive(
        self,
        run: _Run,
        session: Session,
        ledger: Ledger,
        make_task: Callable[[Group], Task],
        should_stop: StopSign,
    ) -> bool:
        """Hand out and book until the ledger is finished; return whether it was stopped."""
        groups: dict[int, Group] = {}
        reason: str | None = None
        count_at = self._clock()
        while not ledger.is_finished:
            if should_stop():
                return True
            if self._clock() >= count_at:
                run.slots = self._executor.slots
                ledger.set_slots(run.slots)
                count_at = self._clock() + _SLOTS_SECONDS
            for group in self._due(ledger):
                task = make_task(group)
                try:
                    session.submit(task)
                except WorkerLostError as error:
                    ledger.book_task_ended()
                    self._book_error(ledger, group, error)
                    continue
                groups[id(task)] = group
            due = ledger.next_due(self._clock())
            timeout = _POLL_SECONDS if due is None else min(_POLL_SECONDS, max(due, 0.01))
            completions = session.poll(timeout)
            results = [
                result
                for completion in completions
                for result in self._book(ledger, groups.pop(id(completion.task)), completion)
            ]
            if run.stage == "blocks":
                for result in results:
                    if result.failure is None:
                        run.done += 1
                        height, width = run.work.grid.shape_of(result.block)
                        run.entries += height * width
            if completions or run.waiting_reason(ledger) != reason:
                reason = run.waiting_reason(ledger)
                run.report(ledger, results if run.stage == "blocks" else ())
        return False

    def _due(self, ledger: Ledger) -> Iterator[Group]:
        while (group := ledger.next_group(self._clock())) is not None:
            yield group

    def _book(self, ledger: Ledger, group: Group, completion: Completion) -> Sequence[BlockResult]:
        ledger.book_task_ended()
        if completion.error is not None:
            self._book_error(ledger, group, completion.error)
            return ()
        results: Sequence[BlockResult] = completion.result
        good = [result for result in results if result.failure is None]
        ledger.book_stored(
            [result.block for result in good], sum(result.seconds for result in good)
        )
        for result in results:
            if result.failure is not None:
                ledger.book_failed(result.block, result.failure, self._clock())
        return results

    def _book_error(self, ledger: Ledger, group: Group, error: BaseException) -> None:
        """Book a task that ended without a result."""
        if isinstance(error, GramserveError):
            outage = bool(error.context.get("outage"))
            failure = Failure(error.code, str(error), error.retryable, is_outage=outage)
        else:
            failure = Failure("block", f"{type(error).__name__}: {error}")
        for block in group:
            ledger.book_failed(block, failure, self._clock())
