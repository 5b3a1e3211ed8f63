"""Blocks that exist somewhere are taken over, not computed: from other matrices of a server.

Every matrix of the same kernel, precision and code is a source, whoever asked for it. What they
share is found by the items alone (:mod:`gramserve.store.shared_blocks`), so that a data set that
has grown, train-test and test-test matrices, other orders and other block sizes are all served by
what is stored.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import numpy as np
import structlog

from gramserve.catalog import BlockRecord, Catalog, GramRecord
from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    GramserveError,
    StorageFullError,
)
from gramserve.plan import BlockIndex, Grid
from gramserve.spec import (
    KERNEL_CODE_VERSION,
    KernelSpec,
    Precision,
    block_address,
    kernel_address,
)
from gramserve.store import (
    BlockSource,
    DatasetStore,
    GramHeader,
    GramStore,
    ItemAxis,
    Mask,
    StateLayout,
    TakenBlock,
    block_sources,
    masked_blocks,
    read_axis,
    stored_mask,
    verify_or_drop,
    wanted_mask,
)

_BATCH = 64
"""Blocks that are taken over between two looks at whether to go on."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WantedGram:
    """A Gram matrix that may have blocks elsewhere."""

    id: str
    spec: KernelSpec
    """With one kernel."""
    precision: Precision
    dataset: str
    other: str | None
    header: GramHeader

    @property
    def address(self) -> str:
        """What names its function."""
        return kernel_address(self.spec, self.precision)


def header_of(grid: Grid, dtype: "np.dtype[np.floating]") -> GramHeader:
    """Return the header of a matrix that need not exist.

    Parameters
    ----------
    grid : Grid
        How it is cut.
    dtype : dtype
        What it is stored in.

    Returns
    -------
    GramHeader
        Without a description.
    """
    shape = grid.rows, grid.columns
    return GramHeader(shape, dtype, grid.block_size, grid.symmetric)


@dataclass(frozen=True)
class _Source:
    """A way to take blocks from a recorded matrix."""

    gram: GramRecord
    blocks: BlockSource


@dataclass
class _Batch:
    """What became of a batch."""

    taken: list[TakenBlock]
    damaged: list[BlockIndex]
    """Blocks of the source that were found damaged, and dropped."""
    full: StorageFullError | None = None
    """What ended it early."""


class Adopter:
    """Finds and takes over blocks of other matrices.

    Parameters
    ----------
    layout : StateLayout
        Where they lie.
    catalog : Catalog
        Knows which there are, and who made their blocks.
    on_damaged : callable
        Called with the id of a matrix that lost a damaged block.
    """

    def __init__(
        self,
        layout: StateLayout,
        catalog: Catalog,
        on_damaged: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._layout = layout
        self._catalog = catalog
        self.on_damaged = on_damaged

    def adoptable(self, wanted: WantedGram, kin: Sequence[GramRecord], stored: Mask) -> Mask:
        """Say which missing blocks other matrices hold now.

        Parameters
        ----------
        wanted : WantedGram
            What is asked for.
        kin : sequence of GramRecord
            Matrices of the same function, itself perhaps among them.
        stored : ndarray of bool, shape (row panels, column panels)
            What it has already.

        Returns
        -------
        ndarray of bool, shape (row panels, column panels)
            Of blocks to compute only: the upper triangle of a symmetric matrix.
        """
        missing = wanted_mask(wanted.header) & ~stored
        found = np.zeros_like(missing)
        for source in self._open(wanted, kin):
            if not missing.any():
                break
            here = source.blocks.available() & missing
            found |= here
            missing &= ~here
        return found

    def awaited(
        self, wanted: WantedGram, kin: Sequence[GramRecord], stored: Mask
    ) -> Iterator[tuple[str, BlockSource, Mask]]:
        """Yield which missing blocks other matrices will hold when they are complete.

        Parameters
        ----------
        wanted : WantedGram
            What is asked for.
        kin : sequence of GramRecord
            Matrices of the same function that are being computed.
        stored : ndarray of bool, shape (row panels, column panels)
            What it has already.

        Yields
        ------
        str
            Id of the other matrix.
        BlockSource
            As a source of blocks.
        ndarray of bool
            Of blocks to compute that no earlier source has yielded.
        """
        missing = wanted_mask(wanted.header) & ~stored
        for source in self._open(wanted, kin):
            here = source.blocks.reachable() & missing
            if here.any():
                missing &= ~here
                yield source.gram.id, source.blocks, here

    async def adopt(
        self, wanted: WantedGram, should_stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Store every block that is missing here and stored elsewhere.

        Parameters
        ----------
        wanted : WantedGram
            Recorded in store and catalog.
        should_stop : callable
            Asked between batches; True ends it, what was taken stays.

        Returns
        -------
        int
            How many blocks were taken over.

        Raises
        ------
        StorageFullError
            If there is no space.

        Notes
        -----
        It takes some ten bytes of memory for a block. A block of a source that turns out damaged is
        dropped there, so that its next asker computes it again; here it is computed.
        """
        kin = await self._catalog.kin(wanted.address)
        if all(gram.id == wanted.id for gram in kin):
            return 0
        target = await asyncio.to_thread(GramStore.open, self._layout.gram(wanted.id))
        missing = wanted_mask(target.header) & ~await asyncio.to_thread(stored_mask, target)
        if not missing.any():
            return 0
        taken, names = 0, _RangeNames(self._layout)
        for source in await asyncio.to_thread(list, self._open(wanted, kin)):
            if not missing.any():
                break
            here = await asyncio.to_thread(source.blocks.available)
            for batch in batched(masked_blocks(here & missing), _BATCH):
                if should_stop():
                    return taken
                done = await asyncio.to_thread(self._take, target, source, batch)
                await self._record(wanted, source.gram.id, done, names)
                taken += len(done.taken)
                for one in done.taken:
                    missing[one.block] = False
                if done.full is not None:
                    raise done.full
        if taken:
            _log.info("blocks taken over", gram=wanted.id, blocks=taken)
        return taken

    def _open(self, wanted: WantedGram, kin: Sequence[GramRecord]) -> Iterator[_Source]:
        others = [gram for gram in kin if gram.id != wanted.id]
        if not others:
            return
        sides = self._sides(wanted.dataset, wanted.other)
        # Blocks of those that are cut alike are linked, others are copied.
        for gram in sorted(others, key=lambda gram: gram.block_size != wanted.header.block_size):
            header = GramHeader(
                (gram.rows, gram.columns), np.dtype(gram.dtype), gram.block_size, gram.symmetric
            )
            store = GramStore(self._layout.gram(gram.id), header)
            try:
                theirs = self._sides(gram.dataset, gram.other)
                for blocks in block_sources(wanted.header, sides, store, theirs):
                    yield _Source(gram, blocks)
            except GramserveError as error:
                # A source that cannot be read is none; whoever needs it will hear of it.
                _log.warning("no source of blocks", gram=gram.id, error=str(error))

    def _sides(self, dataset: str, other: str | None) -> tuple[ItemAxis, ItemAxis]:
        root = self._layout.datasets
        rows = read_axis(root, dataset)
        return rows, rows if other is None else read_axis(root, other)

    def _take(self, target: GramStore, source: _Source, batch: Sequence[BlockIndex]) -> _Batch:
        done = _Batch([], [])
        for block in batch:
            try:
                done.taken.append(source.blocks.take(target, block))
            except StorageFullError as error:
                done.full = error
                break
            except BlockMissingError:
                continue
            except CorruptBlockError as error:
                place = error.context.get("block")
                _log.warning("damaged block not taken over", gram=source.gram.id, error=str(error))
                if place is not None:
                    bad = (int(place[0]), int(place[1]))
                    found = verify_or_drop(source.blocks.source, bad, drop=True)
                    if found is not None and found.dropped:
                        done.damaged.append(bad)
            except GramserveError as error:
                # It is computed instead, and if the fault is of the target, computing names it.
                _log.warning("block not taken over", gram=source.gram.id, error=str(error))
        return done

    async def _record(
        self, wanted: WantedGram, source: str, done: _Batch, names: "_RangeNames"
    ) -> None:
        if done.damaged:
            await self._catalog.forget_blocks(source, done.damaged)
            self.on_damaged(source)
        origins = {origin for one in done.taken for origin in one.origins}
        makers = await self._catalog.blocks_at(source, sorted(origins))
        records = await asyncio.to_thread(
            lambda: [_adopted(wanted, source, one, makers, names) for one in done.taken]
        )
        await self._catalog.record_blocks(records)


class _RangeNames:
    """Digests of panels of items, each computed once."""

    def __init__(self, layout: StateLayout) -> None:
        self._datasets = DatasetStore(layout.datasets)
        self._known: dict[tuple[str, int], str] = {}

    def block_address(self, wanted: WantedGram, block: BlockIndex) -> str:
        """Return the content address of a block."""
        rows = self._panel(wanted, wanted.dataset, block[0], wanted.header.shape[0])
        columns = wanted.other or wanted.dataset
        across = self._panel(wanted, columns, block[1], wanted.header.shape[1])
        return block_address(wanted.spec, wanted.precision, rows, across)

    def _panel(self, wanted: WantedGram, dataset: str, panel: int, count: int) -> str:
        if (dataset, panel) not in self._known:
            start = panel * wanted.header.block_size
            stop = min(start + wanted.header.block_size, count)
            digest = self._datasets.range_digest(dataset, start, stop)
            self._known[dataset, panel] = digest
        return self._known[dataset, panel]


def _adopted(
    wanted: WantedGram,
    source: str,
    taken: TakenBlock,
    makers: Mapping[BlockIndex, BlockRecord],
    names: _RangeNames,
) -> BlockRecord:
    """Return the record of a block, with the maker of its numbers where it is known."""
    made = [makers[origin] for origin in taken.origins if origin in makers]
    is_whole = len(made) == len(taken.origins)

    def common(name: str) -> Any:
        values = {getattr(record, name) for record in made}
        return values.pop() if is_whole and len(values) == 1 else None

    return BlockRecord(
        gram=wanted.id,
        i=taken.block[0],
        j=taken.block[1],
        state="stored",
        address=names.block_address(wanted, taken.block),
        engine=common("engine"),
        device=common("device"),
        code_version=KERNEL_CODE_VERSION,
        # A part of a block took a part of its time, which nobody measured.
        seconds=common("seconds") if len(taken.origins) == 1 else None,
        worker=common("worker"),
        checksum=taken.checksum,
        adopted_from={"gram": source, "blocks": [list(origin) for origin in taken.origins]},
    )
