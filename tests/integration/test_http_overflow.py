"""A kernel whose values are too large, through HTTP: the job fails and says where and why."""

import pytest
from service_app import running_service, small_images

CONV, MEAN = {"type": "conv", "size": 3}, {"type": "global_avg_pool"}
EXP, RELU = {"type": "exp"}, {"type": "relu"}


@pytest.mark.parametrize(
    ("layers", "named", "where"),
    [
        ([CONV, EXP, MEAN], r"layers[1] (exp) gives NaN or infinity", "of the block"),
        ([CONV, EXP, CONV, RELU, MEAN], r"layers[3] (relu) is given a variance", "item "),
    ],
    ids=["values", "variances"],
)
async def test_a_job_that_overflows_fails_and_names_the_layer(tmp_path, layers, named, where):
    async with running_service(tmp_path) as service:
        dataset = await service.upload(small_images(5))
        job = await service.submit(dataset, kernel={"layers": layers})
        body = await service.until(job, "succeeded", "failed", "cancelled")
        assert body["state"] == "failed"
        assert body["error"]["code"] == "non_finite_kernel"
        messages = [body["error"]["message"], *(block["error"] for block in body["failed_blocks"])]
        said = next(message for message in messages if named in message)
        assert where in said
        assert "in float32: use precision float64 or scale the items down" in said
        gone = await service.http.get(f"/v1/grams/{job['gram']}/rows?start=0&stop=1")
        assert gone.status_code == 409
