"""Data sets made from others by a recipe: fitted once, applied in threads beside the event loop."""

import asyncio
import contextlib
from math import prod
from typing import cast

import structlog

from gramserve.catalog import Catalog, DatasetRecord
from gramserve.errors import QuotaError, ShapeError, SpecError, StoreNotFoundError
from gramserve.preprocessing import (
    FittedRecipe,
    ItemSource,
    PreprocessedItems,
    check_fits_in_memory,
    check_item_shape,
    fit_recipe,
)
from gramserve.service.background import run_in_daemon
from gramserve.spec import (
    PreprocessingRecipe,
    PreprocessRequest,
    ResultDtype,
    derived_address,
    parse_recipe,
)
from gramserve.spec.status import Preprocessing
from gramserve.store import DatasetStore, TransformStore

_log = structlog.get_logger("gramserve.preprocessing")


class Preprocessor:
    """Makes data sets from others, one at a time, so that memory is needed once.

    Parameters
    ----------
    catalog : Catalog
        Knows the data sets.
    datasets : DatasetStore
        Has their items.
    transforms : TransformStore
        Has what recipes were fitted to.
    datasets_lock : asyncio.Lock
        Held while a data set is added or removed in store and catalog together.
    max_bytes : int
        Size of the largest result, the same as of an upload.
    """

    def __init__(
        self,
        catalog: Catalog,
        datasets: DatasetStore,
        transforms: TransformStore,
        datasets_lock: asyncio.Lock,
        max_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._datasets = datasets
        self._transforms = transforms
        self._datasets_lock = datasets_lock
        self._max_bytes = max_bytes
        self._turn = asyncio.Lock()
        self._making: dict[str, asyncio.Task[None]] = {}

    async def derive(
        self, request: PreprocessRequest, recipe: PreprocessingRecipe
    ) -> tuple[DatasetRecord, bool]:
        """Return the data set that a request describes, making it if it is not stored.

        Parameters
        ----------
        request : PreprocessRequest
            A validated body.
        recipe : PreprocessingRecipe
            Its recipe.

        Returns
        -------
        DatasetRecord
            As the catalog has it.
        bool
            Whether it was stored already.

        Raises
        ------
        StoreNotFoundError
            When there is no such data set, or it was deleted meanwhile.
        SpecError, MemoryBudgetError
            When recipe and items do not fit.
        QuotaError
            When the result is larger than this server takes.

        Notes
        -----
        Requests for the same data set wait for the same work, which goes on when they go away.
        """
        source = await self._catalog.dataset(request.dataset)
        fit: str | None = None
        if recipe.is_fitted:
            fit = request.fit or request.dataset
            _check_same_shape(source, await self._catalog.dataset(fit))
        digest = derived_address(recipe, request.dataset, fit, request.dtype)
        made = Preprocessing(
            source=request.dataset, fit=fit, recipe=recipe.canonical(), dtype=request.dtype
        )
        async with self._datasets_lock:
            stored = await asyncio.to_thread(self._datasets.has, digest)
            # One that is just being made may still turn out to have lost its source.
            if stored and digest not in self._making:
                return await self._record(digest, request.name), True
        check_item_shape(recipe, source.shape[1:])
        check_fits_in_memory(recipe, source.shape[1:])
        self._check_size(source, request.dtype)
        if digest not in self._making:
            task = asyncio.create_task(self._make(digest, made, recipe))
            self._making[digest] = task
            task.add_done_callback(lambda done: self._made(digest, done))
        # A request that goes away must not take the work of others with it.
        await asyncio.shield(self._making[digest])
        async with self._datasets_lock:
            return await self._record(digest, request.name), False

    async def prepared(self, items: ItemSource, digest: str) -> ItemSource:
        """Return new items as those of a data set were made.

        Parameters
        ----------
        items : ItemSource, (n, ...)
            Like the items that were uploaded at first.
        digest : str
            The data set.

        Returns
        -------
        ItemSource
            Computed when it is read.

        Raises
        ------
        SpecError
            When the data set was not made from another one.
        ShapeError
            When the items have another shape.
        """
        chain: list[tuple[FittedRecipe, ResultDtype]] = []
        record = await self._catalog.dataset(digest)
        while record.preprocessing is not None:
            said = record.preprocessing
            recipe = parse_recipe(said["recipe"])
            fitted = await self._fitted(recipe, said["fit"], record.shape[1:])
            chain.append((fitted, cast("ResultDtype", record.dtype)))
            record = await self._catalog.dataset(said["source"])
        if not chain:
            msg = (
                f"data set {digest} was not preprocessed here; send new items as they were "
                "uploaded, without preprocess"
            )
            raise SpecError(msg, errors=[{"loc": "preprocess", "message": msg}])
        for fitted, dtype in reversed(chain):
            items = PreprocessedItems(items, fitted, dtype)
        return items

    async def close(self) -> None:
        """Give up what is being made; it is made when it is asked for again."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, digest: str, made: Preprocessing, recipe: PreprocessingRecipe) -> None:
        async with self._turn:
            stored = await asyncio.to_thread(self._datasets.open, made.source)
            fitted = await self._fitted(recipe, made.fit, stored.shape[1:])
            items = PreprocessedItems(stored, fitted, cast("ResultDtype", made.dtype))
            said = made.model_dump()
            await run_in_daemon(
                lambda: self._datasets.add_derived(items, digest, preprocessing=said), "preprocess"
            )
        async with self._datasets_lock:
            try:
                for needed in {made.source, made.fit or made.source}:
                    await self._catalog.dataset(needed)
            except StoreNotFoundError as error:
                # Deleted while it was read: what was made of it would have no origin.
                await asyncio.to_thread(self._datasets.delete, digest)
                await asyncio.to_thread(self._transforms.drop_fitted_on, error.context["dataset"])
                raise
            await self._record(digest, None)

    async def _fitted(
        self, recipe: PreprocessingRecipe, fit: str | None, item_shape: tuple[int, ...]
    ) -> FittedRecipe:
        if fit is None:
            return FittedRecipe(recipe, item_shape, ({},) * len(recipe.steps))
        with contextlib.suppress(StoreNotFoundError):
            return await asyncio.to_thread(self._transforms.load, recipe, fit)

        def run() -> FittedRecipe:
            fitted = fit_recipe(self._datasets.open(fit), recipe)
            self._transforms.save(fitted, fit)
            return fitted

        return await run_in_daemon(run, "fit")

    async def _record(self, digest: str, name: str | None) -> DatasetRecord:
        stored = await asyncio.to_thread(self._datasets.info, digest)
        return await self._catalog.record_dataset(
            stored.digest,
            shape=stored.shape,
            dtype=stored.dtype,
            items=stored.items,
            bytes=stored.bytes,
            name=name,
            preprocessing=stored.preprocessing,
        )

    def _check_size(self, source: DatasetRecord, dtype: ResultDtype) -> None:
        size = prod(source.shape) * int(dtype.removeprefix("float")) // 8
        if size > self._max_bytes:
            msg = (
                f"the result would have {size:,} bytes in {dtype}, this server takes "
                f"{self._max_bytes:,} (GRAMSERVE_MAX_UPLOAD_BYTES); ask for fewer items"
            )
            raise QuotaError(msg, status=413, limit_bytes=self._max_bytes)

    def _made(self, digest: str, done: asyncio.Task[None]) -> None:
        del self._making[digest]
        # Whoever asked may have gone away: then this is where its end is heard of.
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.warning("preprocessing failed", dataset=digest, error=str(error))


def _check_same_shape(source: DatasetRecord, fit: DatasetRecord) -> None:
    if source.shape[1:] != fit.shape[1:]:
        msg = (
            f"items have shape {source.shape[1:]}, those of the data set to fit on "
            f"{fit.shape[1:]}; fit on items of the same shape"
        )
        raise ShapeError(msg, errors=[{"loc": "fit", "message": msg}])
