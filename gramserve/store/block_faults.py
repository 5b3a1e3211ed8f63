"""What is said of blocks that are not there, or not whole."""

from collections.abc import Collection
from pathlib import Path

from gramserve.errors import BlockMissingError, CorruptBlockError
from gramserve.plan import BlockIndex
from gramserve.store.header import GramHeader


def blocks_missing(header: GramHeader, blocks: Collection[BlockIndex]) -> BlockMissingError:
    """Return the error for blocks that are planned and not stored.

    Parameters
    ----------
    header : GramHeader
        Of their matrix.
    blocks : collection of (int, int)
        In either triangle.

    Returns
    -------
    BlockMissingError
        Names all in its context, the first four in its message.
    """
    listed = [list(block) for block in sorted(header.canonical(*block) for block in blocks)]
    shown = ", ".join(f"({i}, {j})" for i, j in listed[:4])
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return BlockMissingError(
        f"{len(listed)} of {header.block_count} blocks that this touches are not computed yet: "
        f"{shown}{more}; wait for the job, or resume it",
        blocks=listed,
    )


def block_damaged(
    path: Path, canonical: BlockIndex, block: BlockIndex, reason: str
) -> CorruptBlockError:
    """Return the error for a block whose bytes are not what was written.

    Parameters
    ----------
    path : Path
        Its object.
    canonical : (int, int)
        The block that has to be computed again.
    block : (int, int)
        The object, in either triangle.
    reason : str
        What is wrong with it.

    Returns
    -------
    CorruptBlockError
        With ``block`` and ``path`` as context.
    """
    return CorruptBlockError(
        f"block ({block[0]}, {block[1]}) in {path} is damaged: {reason}; drop it and resume the "
        "job to compute it again",
        block=list(canonical),
        path=str(path),
    )
