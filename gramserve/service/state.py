"""What a running server holds: settings, catalog, stores, executor, dispatcher."""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from gramserve.blocks import Executor, open_executor
from gramserve.catalog import Catalog
from gramserve.config import Settings
from gramserve.errors import ConflictError
from gramserve.service.dispatcher import Dispatcher
from gramserve.service.open_grams import OpenGrams
from gramserve.service.preprocessor import Preprocessor
from gramserve.store import DatasetStore, StateLayout, TransformStore, VarianceStore

_LOCK = "server.lock"


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
    preprocessor: Preprocessor
    datasets_lock: asyncio.Lock
    """Held while a data set is added or removed in store and catalog together."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to stop; streams end then."""


@contextlib.contextmanager
def _sole_server(layout: StateLayout) -> Iterator[None]:
    """Keep a second server away from a state directory: both would compute everything."""
    descriptor = os.open(layout.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = (
                f"another server uses the state directory {layout.root}; stop it, or choose "
                "another directory with GRAMSERVE_DATA_DIR or --data-dir"
            )
            raise ConflictError(msg, path=str(layout.root)) from error
        yield
    finally:
        os.close(descriptor)


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
        When the database cannot be used, or another server uses the directory.
    """
    layout = StateLayout(settings.data_dir)
    layout.ensure()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_sole_server(layout))
        datasets = DatasetStore(layout.datasets)
        await asyncio.to_thread(_clear_leftovers, layout, datasets)
        catalog = await stack.enter_async_context(await Catalog.open(settings.catalog_place))
        await _record_stored_datasets(catalog, datasets)
        executor = open_executor(
            settings.scheduler_address,
            workers=settings.workers,
            threads=settings.threads_per_worker,
            engine=settings.engine,
        )
        # Stopping a cluster waits for processes; the loop has streams to end meanwhile.
        stack.push_async_callback(asyncio.to_thread, executor.close)
        dispatcher = Dispatcher(settings, layout, catalog, datasets, executor)
        await stack.enter_async_context(dispatcher)
        transforms, lock = TransformStore(layout.transforms), asyncio.Lock()
        preprocessor = Preprocessor(catalog, datasets, transforms, lock, settings.max_upload_bytes)
        stack.push_async_callback(preprocessor.close)
        yield ServiceState(
            settings=settings,
            layout=layout,
            catalog=catalog,
            datasets=datasets,
            transforms=transforms,
            executor=executor,
            dispatcher=dispatcher,
            grams=OpenGrams(catalog, layout, settings.row_cache_bytes),
            preprocessor=preprocessor,
            datasets_lock=lock,
        )


def _state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(_state)]
"""The state of the server that answers."""
