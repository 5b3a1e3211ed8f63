"""Blocks that a computation leaves to others, which were begun before it and make them as well."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain, islice

from gramserve.plan import BlockIndex, BlockMap
from gramserve.store import BlockSource

_MOST_ORIGINS = 4096


@dataclass
class Awaited:
    """What to wait for, and whom to ask for it.

    A block that is awaited for one of several kernels is left out for all of them: computing the
    others with it later costs less than computing it twice.
    """

    blocks: BlockMap
    """Which blocks are left out."""
    sources: list[tuple[str, BlockSource, BlockMap]] = field(default_factory=list)
    """Id of a Gram matrix, how its blocks become those that are awaited, and which."""

    def origins(self, wanted: Collection[BlockIndex]) -> dict[str, list[BlockIndex]]:
        """Say where blocks are made.

        Parameters
        ----------
        wanted : collection of (int, int)
            Canonical blocks.

        Returns
        -------
        dict of str to list of (int, int)
            By the id of another Gram matrix, blocks of it that hold those that are left to it;
            the first thousands, where items are in so different orders that there are more.
        """
        found: dict[str, list[BlockIndex]] = {}
        for gram, source, blocks in self.sources:
            asked = (source.origins(block) for block in wanted if block in blocks)
            some = list(dict.fromkeys(islice(chain.from_iterable(asked), _MOST_ORIGINS)))
            if some:
                found.setdefault(gram, []).extend(some)
        return found
