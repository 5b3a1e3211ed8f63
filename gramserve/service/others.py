"""The computations that were begun before one: whom it leaves blocks to."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from gramserve.plan import BlockIndex

_LOOK_S = 1.0


class Neighbour(Protocol):
    """A computation that goes on."""

    @property
    def grams(self) -> frozenset[str]:
        """Ids of the Gram matrices that it computes."""
        ...

    @property
    def is_recorded(self) -> asyncio.Event:
        """Set when others can see what it computes, or that it computes nothing."""
        ...

    def prefer(self, blocks: Collection[BlockIndex]) -> None:
        """Move blocks to the front."""
        ...


def begun_before[N: Neighbour](running: Mapping[str, N], name: str) -> list[N]:
    """Return the computations in front of one, in the order in which they were begun.

    Parameters
    ----------
    running : mapping
        By name, the first one first.
    name : str
        Of the one that asks.
    """
    return [running[other] for other in takewhile(lambda other: other != name, running)]


@dataclass(frozen=True)
class Others:
    """What one computation knows of those that were begun before it.

    Waiting for these and never for later ones, no two wait for each other.
    """

    earlier: Callable[[], Sequence[Neighbour]]
    """Those that go on, as they are now."""
    wait_for_stored: Callable[[float], Awaitable[None]]
    """Returns when blocks of any computation were stored or one has ended, or after seconds."""

    async def begun(self, should_stop: Callable[[], bool]) -> set[str]:
        """Return which Gram matrices are computed already.

        Parameters
        ----------
        should_stop : callable
            Asked once a second; True ends the waiting for those that are being planned.

        Returns
        -------
        set of str
            Their ids.
        """
        for other in self.earlier():
            while not other.is_recorded.is_set() and not should_stop():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(other.is_recorded.wait(), _LOOK_S)
        return {gram for other in self.earlier() for gram in other.grams}

    def prefer(self, blocks: Mapping[str, Collection[BlockIndex]]) -> None:
        """Have blocks computed before all others: somebody waits for them.

        Parameters
        ----------
        blocks : mapping
            By the id of their Gram matrix.
        """
        for other in self.earlier():
            for gram in other.grams & blocks.keys():
                other.prefer(blocks[gram])
