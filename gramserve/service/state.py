"""What a running server holds: settings, catalog, stores, executor, dispatcher."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from gramserve.blocks import Executor, open_executor
from gramserve.catalog import Catalog
from gramserve.catalog.place import is_sqlite, parse_place
from gramserve.config import Settings
from gramserve.service.auditor import Auditor
from gramserve.service.dispatcher import Dispatcher
from gramserve.service.evictor import Evictor
from gramserve.service.occupancy import occupied
from gramserve.service.open_grams import OpenGrams
from gramserve.service.preprocessor import Preprocessor
from gramserve.service.store_index import record_stored_grams
from gramserve.service.usage import Usage
from gramserve.service.verifier import Verifier
from gramserve.store import (
    DatasetStore,
    StateLayout,
    TransformStore,
    VarianceStore,
    sweep_evicted,
)


@dataclass
class ServiceState:
    """The parts of one server."""

    settings: Settings
    layout: StateLayout
    catalog: Catalog
    datasets: DatasetStore
    transforms: TransformStore
    executor: Executor
    dispatcher: Dispatcher
    grams: OpenGrams
    usage: Usage
    evictor: Evictor
    verifier: Verifier
    auditor: Auditor
    preprocessor: Preprocessor
    datasets_lock: asyncio.Lock
    """Held while a data set is added or removed in store and catalog together."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to stop; streams end then."""


def _clear_leftovers(layout: StateLayout, datasets: DatasetStore) -> None:
    """Remove what was arriving when an earlier server died."""
    for leftover in layout.uploads.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    datasets.sweep()
    TransformStore(layout.transforms).sweep()
    VarianceStore(layout.variances).sweep()
    sweep_evicted(layout.grams)


async def _record_stored_datasets(catalog: Catalog, datasets: DatasetStore) -> None:
    """Tell the catalog of data sets that only the store knows: the store is the truth."""
    for info in await asyncio.to_thread(datasets.list):
        await catalog.record_dataset(
            info.digest,
            shape=info.shape,
            dtype=info.dtype,
            items=info.items,
            bytes=info.bytes,
            preprocessing=info.preprocessing,
        )


@contextlib.asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[ServiceState]:
    """Open everything a server needs, and close it cleanly.

    Parameters
    ----------
    settings : Settings
        Of the server.

    Yields
    ------
    ServiceState
        With the dispatcher running.

    Raises
    ------
    StoreError
        When the state directory cannot be used.
    CatalogError
        When the database cannot be used.
    ConflictError
        When another server uses the directory and does not share it.
    """
    layout = StateLayout(settings.data_dir)
    layout.ensure()
    async with contextlib.AsyncExitStack() as stack:
        datasets = DatasetStore(layout.datasets)
        use = occupied(
            layout.root,
            is_shared=not is_sqlite(parse_place(settings.catalog_place)),
            clear=lambda: _clear_leftovers(layout, datasets),
        )
        home = await asyncio.to_thread(stack.enter_context, use)
        catalog = await stack.enter_async_context(await Catalog.open(settings.catalog_place))
        await _record_stored_datasets(catalog, datasets)
        await record_stored_grams(catalog, layout)
        executor = open_executor(
            settings.scheduler_address,
            workers=settings.workers,
            threads=settings.threads_per_worker,
            engine=settings.engine,
        )
        # Stopping a cluster waits for processes; the loop has streams to end meanwhile.
        stack.push_async_callback(asyncio.to_thread, executor.close)
        dispatcher = Dispatcher(settings, layout, catalog, datasets, executor, home=home)
        await stack.enter_async_context(dispatcher)
        transforms, lock = TransformStore(layout.transforms), asyncio.Lock()
        preprocessor = Preprocessor(catalog, datasets, transforms, lock, settings.max_upload_bytes)
        stack.push_async_callback(preprocessor.close)
        grams = OpenGrams(catalog, layout, settings.row_cache_bytes, live_map=dispatcher.stored_map)
        dispatcher.planner.adopter.on_damaged = grams.forget
        usage = Usage(catalog)
        await stack.enter_async_context(usage.written_always())
        verifier = Verifier(catalog, layout, grams)
        stack.push_async_callback(verifier.chore.stop)
        auditor = Auditor(settings, layout, catalog, executor)
        stack.push_async_callback(auditor.close)
        yield ServiceState(
            settings=settings,
            layout=layout,
            catalog=catalog,
            datasets=datasets,
            transforms=transforms,
            executor=executor,
            dispatcher=dispatcher,
            grams=grams,
            usage=usage,
            evictor=Evictor(catalog, layout, grams, usage),
            verifier=verifier,
            auditor=auditor,
            preprocessor=preprocessor,
            datasets_lock=lock,
        )


def _state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(_state)]
"""The state of the server that answers."""
