"""Taking a block that another Gram matrix has already."""

from gramserve.errors import StoreMismatchError
from gramserve.store.block_objects import Block, BlockObjects
from gramserve.store.files import link_file


def adopt_block(target: BlockObjects, block: Block, source: BlockObjects, other: Block) -> str:
    """Store a block of one Gram matrix in another one, without computing it again.

    Parameters
    ----------
    target : GramStore
        Where the block is missing.
    block : tuple of int
        Which block of ``target``.
    source : GramStore
        Where it is stored; may be ``target``.
    other : tuple of int
        Which block of ``source`` holds the same values in the same orientation. For the
        transpose of a block, name the mirror: ``(j, i)``.

    Returns
    -------
    str
        Checksum of the stored block, as :meth:`GramStore.write_block` returns it.

    Raises
    ------
    BlockMissingError
        If the source has no such block.
    CorruptBlockError
        If the block of the source is damaged; it is not adopted.
    StoreMismatchError
        If the blocks are of different extent or dtype.

    Notes
    -----
    Every byte of the source is checked first. Where both matrices lay their blocks out alike
    the objects are linked, so the block occupies the disk once; files of blocks are never
    changed in place. Otherwise, and across file systems, the values are written anew.
    """
    if target.dtype != source.dtype or target.header.extent(*block) != source.header.extent(*other):
        raise StoreMismatchError(
            f"block {block} of {target.path} cannot take block {other} of {source.path}: "
            f"{target.header.extent(*block)} of {target.dtype.name} against "
            f"{source.header.extent(*other)} of {source.dtype.name}"
        )
    if source.symmetric and target.header.canonical(*block) != block:
        block, other = (block[1], block[0]), (other[1], other[0])
    if _is_alike(target, block, source, other):
        checksum = source.verify_block(*other)
        if _link(target, block, source, other):
            if source.header.canonical(*other) != other:  # that was the mirror's
                return target.verify_block(*block)
            return checksum
    return target.write_block(*block, source.read_block(*other))


def _is_alike(target: BlockObjects, block: Block, source: BlockObjects, other: Block) -> bool:
    if target.block_size != source.block_size:
        return False
    if not target.symmetric:
        return True
    # Both triangles are needed, and a diagonal block must be symmetric to the bit.
    return source.symmetric and (block[0] == block[1]) == (other[0] == other[1])


def _link(target: BlockObjects, block: Block, source: BlockObjects, other: Block) -> bool:
    if target.symmetric and block[0] != block[1]:
        mirror = source.object_path(other[1], other[0])
        if not link_file(mirror, target.object_path(block[1], block[0])):
            return False
    return link_file(source.object_path(*other), target.object_path(*block))
