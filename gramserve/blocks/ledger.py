"""The ledger: which blocks are out, which come back, which are tried again.

A pure state machine: events go in, decisions come out. It does no I/O and reads no clock; the
time is an argument. Pending blocks are taken lazily from an iterator, so that a million of
them cost nothing.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gramserve.plan import BlockIndex

Group = tuple[BlockIndex, ...]
"""Blocks of one row panel that one task computes."""


@dataclass(frozen=True)
class Failure:
    """Why one attempt at a block failed."""

    code: str
    """Stable code of the error tree."""
    message: str
    retryable: bool = True
    """Whether another attempt may end differently."""
    is_outage: bool = False
    """Whether nothing can run now (no space, no scheduler): all blocks wait, no attempt is lost."""


@dataclass(frozen=True)
class Policy:
    """How patient the ledger is."""

    max_attempts: int = 3
    """Attempts at a block before it is set aside."""
    backoff_s: float = 0.5
    """Seconds before the second attempt; doubles with each further one."""
    outage_wait_s: float = 5.0
    """Seconds between probes during an outage."""
    target_task_s: float = 10.0
    """How long one task should take, in seconds."""
    max_group: int = 64
    """Most blocks in one task."""
    max_named: int = 10_000
    """Blocks set aside that are remembered with their failure; more are only counted."""
    window_per_slot: int = 2
    """Tasks handed out for every task that can run, until the last of them."""


class Ledger:
    """Hands out groups of blocks and books what becomes of them.

    Parameters
    ----------
    pending : iterable of (int, int)
        Blocks to compute, in ascending order.
    count : int
        How many there are.
    slots : int
        Tasks that run at once.
    policy : Policy
        How patient to be.
    """

    def __init__(
        self,
        pending: Iterable[BlockIndex],
        count: int,
        slots: int = 1,
        policy: Policy | None = None,
    ) -> None:
        self._policy = policy or Policy()
        self._pending: Iterator[BlockIndex] = iter(pending)
        self._ahead: BlockIndex | None = None
        self._reached: BlockIndex = (-1, -1)
        self._preferred: deque[BlockIndex] = deque()
        self._early: set[BlockIndex] = set()
        self._unsent = count
        self._slots = max(slots, 1)
        self._out: set[BlockIndex] = set()
        self._groups_out = 0
        self._later: list[tuple[float, BlockIndex]] = []
        self._attempts: dict[BlockIndex, int] = {}
        self._set_aside: dict[BlockIndex, Failure] = {}
        self._unnamed = 0
        self._stored = 0
        self._seconds_per_block: float | None = None
        self._outage: Failure | None = None
        self._probe_at = 0.0

    @property
    def stored(self) -> int:
        """Blocks that this ledger saw stored."""
        return self._stored

    @property
    def set_aside(self) -> dict[BlockIndex, Failure]:
        """Blocks given up, with their last failure; the first ones, if there are very many."""
        return dict(self._set_aside)

    @property
    def failed(self) -> int:
        """How many blocks were given up."""
        return len(self._set_aside) + self._unnamed

    @property
    def unnamed(self) -> int:
        """How many of them are not in :attr:`set_aside`."""
        return self._unnamed

    @property
    def in_flight(self) -> int:
        """Blocks handed out and not heard of yet."""
        return len(self._out)

    def set_slots(self, slots: int) -> None:
        """Widen or narrow the window: workers came or went.

        Parameters
        ----------
        slots : int
            Tasks that run at once.
        """
        self._slots = max(slots, 1)

    def prefer(self, blocks: Iterable[BlockIndex]) -> None:
        """Move blocks to the front: somebody waits for them.

        They are handed out next, in this order. What is out already stays out, and a block that
        failed waits as long as any other.

        Parameters
        ----------
        blocks : iterable of (int, int)
            Some of the pending ones; those that were handed out before are left alone.
        """
        for block in blocks:
            if block > self._reached and block not in self._early:
                self._early.add(block)
                self._preferred.append(block)

    @property
    def has_preferred(self) -> bool:
        """Whether the next group is one that somebody waits for."""
        return bool(self._preferred)

    @property
    def is_finished(self) -> bool:
        """Whether every block is stored or set aside."""
        return not self._unsent and not self._out and not self._later

    @property
    def waiting_reason(self) -> str | None:
        """Why nothing can be handed out, or None."""
        return None if self._outage is None else self._outage.message

    def has_due(self, now: float) -> bool:
        """Whether :meth:`next_group` would return blocks now.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        """
        if not self._unsent and not (self._later and self._later[0][0] <= now):
            return False
        if self._outage is not None:
            return now >= self._probe_at and not self._groups_out
        return self._groups_out < self._window()

    def expected_seconds(self, blocks: int) -> float | None:
        """Return how long some blocks should take; None before the first was stored."""
        return None if self._seconds_per_block is None else blocks * self._seconds_per_block

    def next_group(self, now: float) -> Group | None:
        """Return blocks to hand out now, or None when the window is full or none is due.

        Parameters
        ----------
        now : float
            Monotonic seconds.

        Returns
        -------
        tuple of (int, int) or None
            Blocks of one row panel.
        """
        if not self.has_due(now):
            return None
        size = 1 if self._outage is not None else self._group_size()
        return self._hand_out(self._take(now, size))

    def next_due(self, now: float) -> float | None:
        """Return the seconds until a block that waits may be handed out; None if none waits."""
        times = [self._later[0][0]] if self._later else []
        if self._outage is not None:
            times = [self._probe_at]
        return max(0.0, times[0] - now) if times else None

    def book_stored(self, blocks: Sequence[BlockIndex], seconds: float) -> None:
        """Book blocks of one task as stored.

        Parameters
        ----------
        blocks : sequence of (int, int)
            The blocks.
        seconds : float
            How long they took together.
        """
        for block in blocks:
            if block not in self._out:
                continue
            self._out.discard(block)
            self._attempts.pop(block, None)
            self._stored += 1
            self._outage = None
        if blocks:
            each = seconds / len(blocks)
            known = self._seconds_per_block
            self._seconds_per_block = each if known is None else 0.7 * known + 0.3 * each

    def book_failed(self, block: BlockIndex, failure: Failure, now: float) -> None:
        """Book a failed attempt at a block: it is tried again, later, or set aside.

        Parameters
        ----------
        block : (int, int)
            The block.
        failure : Failure
            Why.
        now : float
            Monotonic seconds.
        """
        if block not in self._out:
            return
        self._out.discard(block)
        if failure.is_outage:
            self._outage = failure
            self._probe_at = now + self._policy.outage_wait_s
            heapq.heappush(self._later, (now, block))
            return
        self._outage = None
        attempts = self._attempts.get(block, 0) + 1
        self._attempts[block] = attempts
        if not failure.retryable or attempts >= self._policy.max_attempts:
            del self._attempts[block]
            if len(self._set_aside) < self._policy.max_named:
                self._set_aside[block] = failure
            else:
                self._unnamed += 1
            return
        delay = self._policy.backoff_s * 2 ** (attempts - 1)
        heapq.heappush(self._later, (now + delay, block))

    def book_task_ended(self) -> None:
        """Book that one handed-out group is no longer with the executor."""
        self._groups_out = max(0, self._groups_out - 1)

    def _window(self) -> int:
        """Return how many groups may be out."""
        window = self._slots * self._policy.window_per_slot
        # A group that waits behind a long one keeps its worker: towards the end, hand out only
        # what can start at once, so that no worker idles while another has two.
        return window if self._unsent > window else self._slots

    def _group_size(self) -> int:
        if self._seconds_per_block is None:
            return 1
        by_time = int(self._policy.target_task_s / max(self._seconds_per_block, 1e-6))
        # Towards the end, leave something for every worker.
        by_share = -(-self._unsent // (2 * self._slots))
        return max(1, min(by_time, by_share, self._policy.max_group))

    def _take(self, now: float, size: int) -> list[BlockIndex]:
        if self._later and self._later[0][0] <= now:
            return [heapq.heappop(self._later)[1]]
        taken = self._take_preferred(size) or self._take_in_order(size)
        self._unsent -= len(taken)
        return taken

    def _take_preferred(self, size: int) -> list[BlockIndex]:
        # Somebody waits for all of them: every worker should have some.
        size = min(size, -(-len(self._preferred) // self._slots))
        taken: list[BlockIndex] = []
        while self._preferred and len(taken) < size:
            if taken and self._preferred[0][0] != taken[0][0]:
                break
            taken.append(self._preferred.popleft())
        return taken

    def _take_in_order(self, size: int) -> list[BlockIndex]:
        taken: list[BlockIndex] = []
        while len(taken) < size:
            if self._ahead is None:
                self._ahead = next(self._pending, None)
            if self._ahead is None or (taken and self._ahead[0] != taken[0][0]):
                break  # nothing is left, or the next row panel starts and with it the next group
            block, self._ahead = self._ahead, None
            self._reached = block
            if block in self._early:  # it was handed out before its turn
                self._early.discard(block)
            else:
                taken.append(block)
        return taken

    def _hand_out(self, blocks: list[BlockIndex]) -> Group | None:
        if not blocks:
            return None
        self._out.update(blocks)
        self._groups_out += 1
        return tuple(blocks)
