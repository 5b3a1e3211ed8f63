"""The scheduler: makes every missing block of a Gram matrix, once."""

import queue
import threading
import time
from collections.abc import Callable, Collection
from itertools import islice

from gramserve.blocks.drive import Drive, Wishes
from gramserve.blocks.executor import Executor, Session, Task
from gramserve.blocks.ledger import Failure, Group, Ledger, Policy
from gramserve.blocks.progress import Observer, Run, RunOutcome, StopSign
from gramserve.blocks.shares import Share, Shares
from gramserve.blocks.task import BlockTask, VarianceTask
from gramserve.blocks.work import GramWork
from gramserve.plan import BlockIndex, BlockMap

_MOST_NAMED = 1000
"""Blocks that are named when none can be computed, for one reason."""

_Driver = Callable[[Ledger, Callable[[Group], Task], Wishes | None], bool]


class Scheduler:
    """Runs the missing blocks of a Gram matrix on an executor, once.

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
    user : str
        Whose run it is, see :class:`gramserve.blocks.shares.Shares`.
    shares : Shares, optional
        The runs that share the workers; alone when None.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        policy: Policy | None = None,
        priority: int = 0,
        user: str = "",
        shares: Shares | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._policy = policy or Policy()
        self._priority = priority
        self._user = user
        self._shares = shares or Shares()
        self._clock = clock
        self._wishes: Wishes = queue.SimpleQueue()
        self._session: Session | None = None
        self._share: Share | None = None
        self._stored: BlockMap | None = None
        self._news = threading.Event()

    @property
    def stored(self) -> BlockMap | None:
        """Blocks that are known to be stored; None until they were listed. Do not change it."""
        return self._stored

    def prefer(self, blocks: Collection[BlockIndex]) -> None:
        """Move blocks to the front, from any thread: somebody waits for them.

        Parameters
        ----------
        blocks : collection of (int, int)
            Canonical blocks; those that are stored or out already are left alone.
        """
        self._wishes.put(blocks)
        self.wake()

    def favour(self, user: str, priority: int) -> None:
        """Change whose run it is and how urgent, from any thread.

        Parameters
        ----------
        user : str
            Whose it is now.
        priority : int
            The higher, the larger its part of the workers.
        """
        self._user, self._priority = user, priority
        if self._share is not None:
            self._share.user, self._share.priority = user, priority

    def look_again(self) -> None:
        """Say, from any thread, that blocks which were left out may be stored by now."""
        self._news.set()
        self.wake()

    def wake(self) -> None:
        """Let a run look at its stop sign and its wishes now, from any thread."""
        if self._session is not None:
            self._session.wake()

    def run(
        self,
        work: GramWork,
        observer: Observer = lambda _: None,
        should_stop: StopSign = lambda: False,
        should_leave: StopSign = lambda: True,
        held: Collection[BlockIndex] = (),
    ) -> RunOutcome:
        """Compute what is missing, and return when all is stored or set aside.

        Parameters
        ----------
        work : GramWork
            From :func:`gramserve.blocks.open_work`.
        observer : callable
            Called with a :class:`Progress` after every change, in this thread.
        should_stop : callable
            Asked several times a second; True ends the run: tasks that no worker has begun are
            taken back at once.
        should_leave : callable
            Asked several times a second once the run is to stop; True also drops the tasks that
            workers have begun, False waits for their results.
        held : collection of (int, int)
            Blocks to leave out, canonical and each once: somebody else makes them. Nobody's
            wish changes that.

        Returns
        -------
        RunOutcome
            What is stored and what was set aside.
        """
        stored = self._stored = work.stored_blocks()
        run = Run(work, observer, stored, len(stored), held=held, news=self._news)
        run.report(None)
        if run.done + run.left_out == run.total:
            return run.outcome()
        with (
            self._executor.session(self._priority) as session,
            self._shares.join(self._user, self._priority, session.wake) as share,
        ):
            self._session, self._share = session, share

            def drive(
                ledger: Ledger, make_task: Callable[[Group], Task], wishes: Wishes | None
            ) -> bool:
                driver = Drive(
                    run,
                    session,
                    share,
                    ledger,
                    make_task,
                    count_slots=lambda: self._executor.slots,
                    window_per_slot=self._policy.window_per_slot,
                    clock=self._clock,
                )
                return driver.until_finished(wishes, should_stop, should_leave)

            failed, stopped = self._make_variances(run, drive)
            if failed:
                reason = next(iter(failed.values()))
                named = dict.fromkeys(islice(stored.missing(), _MOST_NAMED), reason)
                return run.outcome(named, unnamed=run.total - run.done - len(named))
            if stopped:
                return run.outcome(stopped=True)
            return self._make_blocks(run, drive)

    def _make_variances(self, run: Run, drive: _Driver) -> tuple[dict[BlockIndex, Failure], bool]:
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

        stopped = drive(ledger, task, None)
        run.stage = "blocks"
        return ledger.set_aside, stopped

    def _make_blocks(self, run: Run, drive: _Driver) -> RunOutcome:
        work = run.work
        # The map grows while its gaps are gone through; blocks that were handed out are behind.
        pending = (block for block in run.stored.missing() if block not in run.held)
        ledger = Ledger(pending, run.total - run.done - run.left_out, policy=self._policy)

        def task(group: Group) -> Task:
            rows, columns = work.places[0], work.places[-1]
            return BlockTask(work.recipe, rows, columns, work.grid, work.grams, group)

        stopped = drive(ledger, task, self._wishes)
        return run.outcome(ledger.set_aside, stopped=stopped, unnamed=ledger.unnamed)
