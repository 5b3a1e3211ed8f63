"""Data sets: uploaded, listed, deleted."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gramserve.catalog import DatasetRecord
from gramserve.service.auth import Admin, Reader, Submitter
from gramserve.service.bodies import NPY, received_npy
from gramserve.service.errors import documented
from gramserve.service.reports import dataset_report
from gramserve.service.state import ServiceState, State
from gramserve.spec.status import DatasetInfo
from gramserve.store import DatasetRecord as StoredDataset

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])

Limit = Annotated[int, Query(ge=1, le=1000, description="At most how many.")]
Offset = Annotated[int, Query(ge=0, description="How many to skip.")]

_SETTING = "GRAMSERVE_MAX_UPLOAD_BYTES"

NPY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {NPY: {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""OpenAPI entry of a ``.npy`` body."""


@router.post(
    "",
    operation_id="upload_dataset",
    summary="Upload items",
    status_code=201,
    response_model=DatasetInfo,
    responses={
        200: {"model": DatasetInfo, "description": "These items were here already"},
        **documented(413, 415, 507),
    },
    openapi_extra=NPY_BODY,
)
async def upload_dataset(
    _: Submitter,
    state: State,
    request: Request,
    response: Response,
    name: Annotated[str | None, Query(max_length=200, description="For people.")] = None,
) -> DatasetInfo:
    """Store the items of a ``.npy`` body; the same items are stored once."""
    limit = state.settings.max_upload_bytes
    async with received_npy(request, state.layout.uploads, limit, _SETTING) as path:
        stored, record = await _add(state, path, name)
    response.status_code = 200 if stored.known else 201
    response.headers["Location"] = f"/v1/datasets/{record.digest}"
    return dataset_report(record)


async def _add(
    state: ServiceState, path: Path, name: str | None
) -> tuple[StoredDataset, DatasetRecord]:
    # An upload in flight must not bring back, in the catalog alone, what is being deleted.
    async with state.datasets_lock:
        stored = await asyncio.to_thread(state.datasets.add, path, name=name)
        record = await state.catalog.record_dataset(
            stored.digest,
            shape=stored.shape,
            dtype=stored.dtype,
            items=stored.items,
            bytes=stored.bytes,
            name=name,
        )
    return stored, record


@router.get(
    "",
    operation_id="list_datasets",
    summary="List data sets",
    responses=documented(),
)
async def list_datasets(
    _: Reader, state: State, limit: Limit = 1000, offset: Offset = 0
) -> dict[str, list[DatasetInfo]]:
    """Return data sets, the newest first."""
    records = await state.catalog.datasets(limit=limit, offset=offset)
    return {"datasets": [dataset_report(record) for record in records]}


@router.get(
    "/{digest}",
    operation_id="get_dataset",
    summary="Describe a data set",
    response_model=DatasetInfo,
    responses=documented(404),
)
async def get_dataset(_: Reader, state: State, digest: str) -> DatasetInfo:
    """Return shape, dtype, size, and how it was made if it was made from another."""
    return dataset_report(await state.catalog.dataset(digest))


@router.delete(
    "/{digest}",
    operation_id="delete_dataset",
    summary="Delete a data set",
    status_code=204,
    responses=documented(404, 409),
)
async def delete_dataset(_: Admin, state: State, digest: str) -> None:
    """Delete a data set that no Gram matrix, unfinished job or preprocessed data set needs."""
    async with state.datasets_lock:
        await state.catalog.forget_dataset(digest)
        await asyncio.to_thread(state.datasets.delete, digest)
        await asyncio.to_thread(state.transforms.drop_fitted_on, digest)
