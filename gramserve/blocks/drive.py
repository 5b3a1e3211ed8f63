"""Driving: hand out groups, book what comes back, until a ledger is finished."""

import queue
from collections.abc import Callable, Collection, Sequence

from gramserve.blocks.executor import Completion, Session, Task
from gramserve.blocks.ledger import Failure, Group, Ledger
from gramserve.blocks.progress import Run, StopSign
from gramserve.blocks.shares import Share
from gramserve.blocks.task import BlockResult
from gramserve.errors import GramserveError, WorkerLostError
from gramserve.plan import BlockIndex

_POLL_SECONDS = 0.2
"""Longest wait for a completion, so that a request to stop is soon seen."""

_SLOTS_SECONDS = 5.0
"""How often workers are counted, that join or leave while a job runs."""

Wishes = queue.SimpleQueue[Collection[BlockIndex]]
"""Blocks that somebody waits for."""


class Drive:
    """One pass over the variances or the blocks of a run.

    Parameters
    ----------
    run : Run
        What is run.
    session : Session
        Where tasks go.
    share : Share
        Says when it is this run's turn.
    ledger : Ledger
        What is to be done.
    make_task : callable
        Makes the task of a group.
    count_slots : callable
        Returns how many tasks run at once; asked every few seconds.
    window_per_slot : int
        Tasks that all runs may have out for every task that can run.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        run: Run,
        session: Session,
        share: Share,
        ledger: Ledger,
        make_task: Callable[[Group], Task],
        *,
        count_slots: Callable[[], int],
        window_per_slot: int,
        clock: Callable[[], float],
    ) -> None:
        self._run, self._session, self._share, self._ledger = run, session, share, ledger
        self._make_task = make_task
        self._count_slots = count_slots
        self._window_per_slot = window_per_slot
        self._clock = clock
        self._out: dict[int, tuple[Group, float]] = {}
        self._count_at = clock()
        self._reason: str | None = None

    def until_finished(
        self,
        wishes: Wishes | None,
        should_stop: StopSign,
        should_leave: StopSign,
    ) -> bool:
        """Hand out and book until the ledger is finished.

        Parameters
        ----------
        wishes : Wishes, optional
            Blocks that somebody waits for.
        should_stop, should_leave : callable
            See :meth:`gramserve.blocks.Scheduler.run`.

        Returns
        -------
        bool
            Whether it was stopped.
        """
        while not self._ledger.is_finished:
            if should_stop():
                self._let_end(should_leave)
                return True
            if self._clock() >= self._count_at:
                self._run.slots = self._count_slots()
                self._ledger.set_slots(self._run.slots)
                self._count_at = self._clock() + _SLOTS_SECONDS
            if wishes is not None:
                self._take_wishes(wishes)
            if self._run.take_news():
                self._run.report(self._ledger)
            self._hand_out()
            due = self._ledger.next_due(self._clock())
            timeout = _POLL_SECONDS if due is None else min(_POLL_SECONDS, max(due, 0.01))
            self._book_all(self._session.poll(timeout))
        return False

    def _let_end(self, should_leave: StopSign) -> None:
        """Take back what nobody has begun, and wait for what somebody has."""
        self._share.rest()
        if should_leave():
            return
        for task in self._session.drop_waiting():
            _, charged = self._out.pop(id(task))
            self._share.give_back(charged, 0.0)
        while self._out and not should_leave():
            self._book_all(self._session.poll(_POLL_SECONDS))

    def _take_wishes(self, wishes: Wishes) -> None:
        while not wishes.empty():
            stored = self._run.stored
            held = self._run.held
            self._ledger.prefer(
                block for block in wishes.get() if stored.lacks(block) and block not in held
            )

    def _hand_out(self) -> None:
        ledger, share = self._ledger, self._share
        capacity = max(self._run.slots, 1) * self._window_per_slot
        while ledger.has_due(self._clock()):
            urgent = ledger.has_preferred
            if not share.take(capacity, urgent=urgent):
                return
            group = ledger.next_group(self._clock())
            charged = share.spend(ledger.expected_seconds(len(group or ())))
            if group is None:  # nothing was due after all
                share.give_back(charged, 0.0)
                break
            task = self._make_task(group)
            try:
                self._session.submit(task, urgent=urgent)
            except WorkerLostError as error:
                share.give_back(charged, 0.0)
                ledger.book_task_ended()
                self._book_error(group, error)
                continue
            self._out[id(task)] = group, charged
        share.rest()

    def _book_all(self, completions: Sequence[Completion]) -> None:
        run, ledger = self._run, self._ledger
        results = [result for completion in completions for result in self._book(completion)]
        if run.stage == "blocks":
            for result in results:
                if result.failure is None and run.stored.add(result.block):
                    height, width = run.work.grid.shape_of(result.block)
                    run.entries += height * width
        if completions or run.waiting_reason(ledger) != self._reason:
            self._reason = run.waiting_reason(ledger)
            run.report(ledger, results if run.stage == "blocks" else ())

    def _book(self, completion: Completion) -> Sequence[BlockResult]:
        group, charged = self._out.pop(id(completion.task))
        self._ledger.book_task_ended()
        if completion.error is not None:
            self._share.give_back(charged, 0.0)
            self._book_error(group, completion.error)
            return ()
        results: Sequence[BlockResult] = completion.result
        good = [result for result in results if result.failure is None]
        self._share.give_back(charged, sum(result.seconds for result in results))
        self._ledger.book_stored(
            [result.block for result in good], sum(result.seconds for result in good)
        )
        for result in results:
            if result.failure is not None:
                self._ledger.book_failed(result.block, result.failure, self._clock())
        return results

    def _book_error(self, group: Group, error: BaseException) -> None:
        """Book a task that ended without a result."""
        if isinstance(error, GramserveError):
            outage = bool(error.context.get("outage"))
            failure = Failure(error.code, str(error), error.retryable, is_outage=outage)
        else:
            failure = Failure("block", f"{type(error).__name__}: {error}")
        for block in group:
            self._ledger.book_failed(block, failure, self._clock())
