"""Data sets made from others by a recipe."""

from typing import Any

from fastapi import APIRouter, Response

from gramserve.service.auth import Submitter
from gramserve.service.bodies import JsonBody
from gramserve.service.errors import documented
from gramserve.service.reports import dataset_report
from gramserve.service.routes.kernels import body_schema
from gramserve.service.state import State
from gramserve.spec import PreprocessRequest, parse_preprocess
from gramserve.spec.status import DatasetInfo

router = APIRouter(prefix="/v1", tags=["data sets"])


@router.post(
    "/datasets:preprocess",
    operation_id="preprocess_dataset",
    summary="Make a data set from another",
    status_code=201,
    response_model=DatasetInfo,
    responses={
        200: {"model": DatasetInfo, "description": "It was made already"},
        **documented(400, 404, 413, 415, 507),
    },
    openapi_extra=body_schema(PreprocessRequest),
)
async def preprocess_dataset(_: Submitter, state: State, body: JsonBody, response: Response) -> Any:
    """Apply a recipe, fitted on this or another data set; the same request is computed once."""
    request, recipe = parse_preprocess(body)
    record, known = await state.preprocessor.derive(request, recipe)
    response.status_code = 200 if known else 201
    response.headers["Location"] = f"/v1/datasets/{record.digest}"
    return dataset_report(record)
