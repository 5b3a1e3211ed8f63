"""What a power cut or a bad disk left of a matrix: found before a job goes on from it."""

from collections.abc import Callable, Mapping

import structlog

from gramserve.blocks import GramWork
from gramserve.catalog import Catalog
from gramserve.service.background import run_in_daemon

_log = structlog.get_logger(__name__)


async def drop_damaged(
    work: GramWork, grams: Mapping[str, str], catalog: Catalog, should_stop: Callable[[], bool]
) -> None:
    """Remove damaged blocks from the store and from the catalog, to be computed again.

    Parameters
    ----------
    work : GramWork
        What a job is about to go on with.
    grams : mapping
        Id of the Gram matrix of every kernel.
    catalog : Catalog
        Forgets them.
    should_stop : callable
        Asked before every block.
    """
    dropped = await run_in_daemon(lambda: work.drop_damaged(should_stop), "inspection")
    for name, blocks in dropped.items():
        _log.warning("damaged blocks dropped", gram=grams[name], blocks=blocks)
        await catalog.forget_blocks(grams[name], blocks)
