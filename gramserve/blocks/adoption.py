"""Blocks out of a state directory, without its catalog: for matrices computed beside a server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gramserve.blocks.work import GramWork
from gramserve.errors import BlockMissingError, CorruptBlockError, GramserveError
from gramserve.spec import KernelSpec, Precision, described_kernel_address, kernel_address
from gramserve.store import (
    BlockSource,
    GramHeader,
    GramStore,
    ItemAxis,
    StateLayout,
    block_sources,
    masked_blocks,
    read_axis,
    stored_mask,
    wanted_mask,
)

Sides = tuple[ItemAxis, ItemAxis]
"""Items of the rows and of the columns of a matrix."""


def sources_in(
    cache: StateLayout, header: GramHeader, sides: Sides, kernel: KernelSpec, precision: Precision
) -> Iterator[BlockSource]:
    """Yield what a state directory can give of a matrix.

    Parameters
    ----------
    cache : StateLayout
        The directory; nothing in it is changed.
    header : GramHeader
        Of the matrix that is asked for.
    sides : (ItemAxis, ItemAxis)
        Its items.
    kernel : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How it is computed.

    Yields
    ------
    BlockSource
        Of every readable matrix of the same function that shares items with it.
    """
    address = kernel_address(kernel, precision)
    for gram in cache.gram_ids():
        try:
            source = GramStore.open(cache.gram(gram))
            description = source.attributes
            if described_kernel_address(description) != address:
                continue
            rows = read_axis(cache.datasets, description["dataset"])
            other = description["other"]
            theirs = rows, rows if other is None else read_axis(cache.datasets, other)
            yield from block_sources(header, sides, source, theirs)
        except (GramserveError, KeyError):
            continue  # not one of ours, or gone a moment ago


def count_adoptable(
    cache: StateLayout, header: GramHeader, sides: Sides, spec: KernelSpec, precision: Precision
) -> int:
    """Count the blocks that a state directory holds for every kernel asked for.

    Parameters
    ----------
    cache : StateLayout
        The directory.
    header : GramHeader
        Of the matrices that are asked for.
    sides : (ItemAxis, ItemAxis)
        Their items.
    spec : KernelSpec
        With any number of kernels.
    precision : {"float32", "mixed", "float64"}
        How they are computed.

    Returns
    -------
    int
        Blocks that would not have to be computed.
    """
    everywhere = wanted_mask(header)
    for name in spec.outputs:
        found = np.zeros_like(everywhere)
        for source in sources_in(cache, header, sides, spec.for_output(name), precision):
            found |= source.available()
        everywhere &= found
    return int(everywhere.sum())


def adopt_stored(work: GramWork, cache: StateLayout) -> int:
    """Take over what a state directory holds of the matrices of some work.

    Parameters
    ----------
    work : GramWork
        Its matrices exist; what they hold already stays.
    cache : StateLayout
        The directory; nothing in it is changed, damaged blocks in it are left out.

    Returns
    -------
    int
        How many blocks were taken over, of all kernels together.

    Raises
    ------
    StorageFullError
        If there is no space.
    """
    axes = [read_axis(StateLayout(Path(one.root)).datasets, one.digest) for one in work.places]
    sides = axes[0], axes[-1]
    taken = 0
    for name, path in work.grams:
        target = GramStore.open(path)
        missing = wanted_mask(target.header) & ~stored_mask(target)
        kernel = work.recipe.spec.for_output(name)
        for source in sources_in(cache, target.header, sides, kernel, work.recipe.precision):
            for block in masked_blocks(source.available() & missing):
                try:
                    source.take(target, block)
                except (BlockMissingError, CorruptBlockError):
                    continue
                missing[block] = False
                taken += 1
    return taken
