"""Blocks that a computation leaves to others, which were begun before it and make them as well."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from gramserve.plan import BlockIndex, BlockMap
from gramserve.store import BlockSource


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

    def split(
        self, wanted: Collection[BlockIndex]
    ) -> tuple[list[BlockIndex], dict[str, list[BlockIndex]]]:
        """Say who makes blocks.

        Parameters
        ----------
        wanted : collection of (int, int)
            Canonical blocks.

        Returns
        -------
        list of (int, int)
            Those that the computation itself makes.
        dict of str to list of (int, int)
            By the id of another Gram matrix, the blocks of it that hold the others.
        """
        own = [block for block in wanted if block not in self.blocks]
        theirs: dict[str, list[BlockIndex]] = {}
        for gram, source, blocks in self.sources:
            asked = (source.origins(block) for block in wanted if block in blocks)
            origins = dict.fromkeys(chain.from_iterable(asked))
            if origins:
                theirs.setdefault(gram, []).extend(origins)
        return own, theirs
