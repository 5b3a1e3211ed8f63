"""Matrices that lie in the store and are not in the catalog: found again, so that they are shared.

Stored blocks are the truth. A catalog that was lost and made anew, or that came out of an older
version, is brought into line with what the stored matrices say of themselves.
"""

import asyncio

import structlog

from gramserve.catalog import Catalog
from gramserve.errors import GramserveError
from gramserve.spec import (
    KERNEL_CODE_VERSION,
    described_kernel_address,
    gram_address,
    parse_kernel,
)
from gramserve.store import GramHeader, GramStore, StateLayout

_log = structlog.get_logger(__name__)


async def record_stored_grams(catalog: Catalog, layout: StateLayout) -> list[str]:
    """Tell the catalog of the Gram matrices that only the store knows.

    Parameters
    ----------
    catalog : Catalog
        It must know the data sets already.
    layout : StateLayout
        Where the matrices lie.

    Returns
    -------
    list of str
        Ids that are recorded now. Matrices that cannot be read, whose name does not fit what
        they say they are, or whose data sets are gone, are left alone and named in the log.
    """
    known = {gram.id for gram in await catalog.all_grams() if gram.kernel_address is not None}
    found = []
    for gram in await asyncio.to_thread(layout.gram_ids):
        if gram in known:
            continue
        try:
            header = (await asyncio.to_thread(GramStore.open, layout.gram(gram))).header
            await _record(catalog, gram, str(layout.gram(gram)), header)
        except (GramserveError, KeyError, TypeError, ValueError) as error:
            _log.warning("stored matrix not recorded", gram=gram, error=repr(error))
        else:
            found.append(gram)
    if found:
        _log.info("stored matrices recorded", count=len(found))
    return found


async def _record(catalog: Catalog, gram: str, path: str, header: GramHeader) -> None:
    description = header.attributes
    spec = parse_kernel(description["kernel"])
    dataset, other = description["dataset"], description["other"]
    precision = description["precision"]
    if description["kernel_code_version"] == KERNEL_CODE_VERSION:
        named = gram_address(spec, precision, dataset, other, header.block_size)
        if named != gram:
            msg = f"it holds what is called {named}"
            raise ValueError(msg)
    await catalog.record_gram(
        gram,
        kernel=spec.kernels[0],
        spec=spec.canonical(),
        precision=precision,
        dataset=dataset,
        other=other,
        rows=header.shape[0],
        columns=header.shape[1],
        block_size=header.block_size,
        symmetric=header.symmetric,
        dtype=str(header.dtype),
        path=path,
        blocks_total=header.block_count,
        kernel_address=described_kernel_address(description),
    )
