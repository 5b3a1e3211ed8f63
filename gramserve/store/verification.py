"""Reading every stored byte of a Gram matrix and checking it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gramserve.errors import BlockMissingError, CorruptBlockError, StoreError
from gramserve.store.block_masks import masked_blocks, stored_canonical
from gramserve.store.block_objects import Block, BlockObjects
from gramserve.store.inspection import drop_if_damaged


@dataclass(frozen=True)
class VerifiedBlock:
    """What became of one block that was listed as stored."""

    block: Block
    checksum: str | None = None
    """Of an intact block; None of a damaged one."""
    damage: str | None = None
    """What is wrong with it."""
    dropped: bool = False
    """Whether its files were removed, so that it is computed again when it is asked for."""


def verify_blocks(
    gram: BlockObjects, *, drop: bool = False, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[VerifiedBlock]:
    """Check all blocks that are stored, row by row.

    Parameters
    ----------
    gram : GramStore
        The matrix.
    drop : bool
        Whether to remove the files of damaged blocks.
    should_stop : callable
        Asked before every block; True ends the iteration.

    Yields
    ------
    VerifiedBlock
        Blocks that are removed meanwhile are left out.
    """
    for block in masked_blocks(stored_canonical(gram)):
        if should_stop():
            return
        found = verify_or_drop(gram, block, drop=drop)
        if found is not None:
            yield found


def verify_or_drop(gram: BlockObjects, block: Block, *, drop: bool) -> VerifiedBlock | None:
    """Check one block and its mirror.

    Parameters
    ----------
    gram : GramStore
        The matrix.
    block : tuple of int
        Which block.
    drop : bool
        Whether to remove the files of a damaged one.

    Returns
    -------
    VerifiedBlock or None
        None when it is not stored.

    Notes
    -----
    A block that was written anew since the check stays, and a reader that has the files of the
    damaged one open keeps what it reads. One that cannot be read at all is reported, not dropped.
    """
    try:
        return VerifiedBlock(block, checksum=gram.verify_block(*block))
    except BlockMissingError:
        return None
    except CorruptBlockError as error:
        dropped = drop and drop_if_damaged(gram, *block)
        return VerifiedBlock(block, damage=str(error), dropped=dropped)
    except StoreError as error:
        return VerifiedBlock(block, damage=str(error))
