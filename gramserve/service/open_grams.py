"""Gram matrices that are being read, kept open so that a row costs no question to the database."""

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from gramserve.catalog import Catalog, GramRecord
from gramserve.errors import (
    BlockMissingError,
    CorruptBlockError,
    GramserveError,
    StoreNotFoundError,
)
from gramserve.plan import BlockMap, Grid
from gramserve.store import GramStore, StateLayout, WholeRows, drop_if_damaged

_KEPT = 1024
_GRAM_ID_DIGITS = 32
_LOOK_S = 1.0
_LISTED_TIMES = 5
"""A listing is used for so many times as long as it took."""

_MOST_FILES = 16_384

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class OpenGram:
    """One Gram matrix ready to be read."""

    record: GramRecord
    store: GramStore
    is_complete: bool = False
    """Whether every block was seen stored; once true it is not looked at again."""
    looked: float = float("-inf")
    """When its blocks were counted last, monotonic seconds."""
    listed: BlockMap | None = None
    """Its blocks as they were listed last, while that is worth keeping."""
    listed_until: float = float("-inf")
    """How long that is good for, monotonic seconds."""
    _row_headers: tuple[tuple[bytes, bytes], ...] | None = None

    @property
    def etag(self) -> str:
        """Validator of everything that is read from a complete matrix.

        Weak, because a block that is lost and computed again by another engine may differ in
        its last bits.
        """
        return f'W/"{self.record.id}"'

    @property
    def row_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that are the same for all rows of a complete matrix, as ASGI takes them."""
        if self._row_headers is None:
            self._row_headers = (
                (b"x-gram-dtype", self.store.dtype.newbyteorder("<").str.encode()),
                (b"etag", self.etag.encode()),
                (b"vary", b"Accept"),
            )
        return self._row_headers


def _file_budget() -> int:
    """Return how many block files may stay open: half of what this process may open at all."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(_MOST_FILES, soft // 2))


class OpenGrams:
    """The Gram matrices that were asked for lately.

    Parameters
    ----------
    catalog : Catalog
        Knows which there are.
    layout : StateLayout
        Knows where they lie.
    row_cache_bytes : int
        Memory for the rows that were read last.
    live_map : callable
        Returns the stored blocks of a Gram matrix that is being computed here, else None.
    """

    def __init__(
        self,
        catalog: Catalog,
        layout: StateLayout,
        row_cache_bytes: int,
        *,
        live_map: Callable[[str], BlockMap | None] = lambda _: None,
    ) -> None:
        self.whole_rows = WholeRows(_file_budget(), row_cache_bytes)
        self._catalog = catalog
        self._layout = layout
        self._live_map = live_map
        self._open: dict[str, OpenGram] = {}

    def peek(self, gram_id: str) -> OpenGram | None:
        """Return a Gram matrix that is open already, without waiting for anything.

        Parameters
        ----------
        gram_id : str
            32 hexadecimal digits.

        Returns
        -------
        OpenGram or None
            None when it must be asked for with :meth:`get`.
        """
        return self._open.get(gram_id)

    async def get(self, gram_id: str) -> OpenGram:
        """Return a Gram matrix, opening it if need be.

        Parameters
        ----------
        gram_id : str
            32 hexadecimal digits.

        Returns
        -------
        OpenGram
            The same object every time.

        Raises
        ------
        StoreNotFoundError
            When there is none of this id.
        """
        found = self._open.get(gram_id)
        if found is not None:
            return found
        if len(gram_id) != _GRAM_ID_DIGITS:
            msg = f"no Gram matrix {gram_id!r}: an id has {_GRAM_ID_DIGITS} hexadecimal digits"
            raise StoreNotFoundError(msg, gram=gram_id)
        record = await self._catalog.gram(gram_id)
        store = await asyncio.to_thread(GramStore.open, self._layout.gram(gram_id))
        if len(self._open) >= _KEPT:
            self._open.clear()
        return self._open.setdefault(gram_id, OpenGram(record, store))

    async def stored_map(self, gram: OpenGram) -> BlockMap:
        """Return which canonical blocks are stored, and note when all are.

        Parameters
        ----------
        gram : OpenGram
            From :meth:`get`.

        Returns
        -------
        BlockMap
            As the computation knows them while there is one here, else from a listing of the
            store. Listing a million blocks takes seconds, so a listing that took long is kept
            for some time. Do not change it.
        """
        if gram.is_complete:
            store = gram.store
            return BlockMap.full(Grid(*store.shape, store.block_size, store.symmetric))
        live = self._live_map(gram.record.id)
        if live is not None:
            gram.is_complete = len(live) == gram.record.blocks_total
            return live
        began = time.monotonic()
        if gram.listed is not None and began < gram.listed_until:
            return gram.listed
        listed = await asyncio.to_thread(gram.store.stored_map)
        ended = time.monotonic()
        gram.is_complete = len(listed) == gram.record.blocks_total
        gram.listed = None if gram.is_complete else listed
        gram.listed_until = ended + _LISTED_TIMES * (ended - began)
        return listed

    async def stored_blocks(self, gram: OpenGram) -> int:
        """Return how many canonical blocks are stored, and note when all are.

        Parameters
        ----------
        gram : OpenGram
            From :meth:`get`.

        Returns
        -------
        int
            From the store, not from the catalog.
        """
        if gram.is_complete:
            return gram.record.blocks_total
        gram.looked = time.monotonic()
        return len(await self.stored_map(gram))

    async def is_complete(self, gram: OpenGram) -> bool:
        """Return whether every block is stored; may say no up to a second too long.

        Parameters
        ----------
        gram : OpenGram
            From :meth:`get`.
        """
        if not gram.is_complete and time.monotonic() - gram.looked > _LOOK_S:
            await self.stored_blocks(gram)
        return gram.is_complete

    async def drop_damaged(self, error: CorruptBlockError) -> GramserveError:
        """Remove a block that a reader found damaged from the store and from the catalog.

        Parameters
        ----------
        error : CorruptBlockError
            What the reader raised.

        Returns
        -------
        GramserveError
            What to tell: that the block is missing, and what to do, if it was damaged indeed;
            otherwise the error itself.
        """
        place, block = Path(error.context.get("path", "")), error.context.get("block")
        gram_id = place.parents[2].name if len(place.parents) > 2 else ""
        if block is None:
            return error
        try:
            gram = await self.get(gram_id)
        except StoreNotFoundError:  # not a block of ours
            return error
        i, j = block
        if not await asyncio.to_thread(drop_if_damaged, gram.store, i, j):
            return error
        gram.is_complete, gram.listed = False, None
        await self._catalog.forget_blocks(gram_id, [(i, j)])
        _log.warning("damaged block dropped", gram=gram_id, block=block, error=str(error))
        return BlockMissingError(
            f"block ({i}, {j}) was damaged on disk and has been dropped; a job that runs computes "
            "it again, otherwise submit the job once more",
            gram=gram_id,
            blocks=[list(block)],
        )

    def forget(self, gram_id: str) -> None:
        """Close a Gram matrix that changed or went away."""
        self._open.pop(gram_id, None)
