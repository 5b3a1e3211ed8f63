"""The service in this process, with its real catalog, stores and executor, for tests."""

import asyncio
import contextlib
import io
from pathlib import Path

import httpx
import numpy as np
from pydantic import SecretStr

from gramserve.config import Settings
from gramserve.service.app import create_app
from gramserve.service.row_lane import RowLane

KEY = "k" * 40
NPY = "application/x-npy"
KERNEL = {"preset": "cntk", "depth": 3}


def small_images(count=20, first=0):
    """Return real handwritten digits, thinned out to 10 x 10 grey images."""
    with np.load(Path(__file__).parent / "data" / "mnist_200.npz") as data:
        return data["images"][first : first + count, ::3, ::3, None]


def npy(values, **how):
    """Return an array as the bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, values, **how)
    return file.getvalue()


def array_of(response):
    """Return the array of a response of bytes."""
    shape = tuple(int(length) for length in response.headers["x-gram-shape"].split(","))
    return np.frombuffer(response.content, response.headers["x-gram-dtype"]).reshape(shape)


class Service:
    """A running application and a client of it that has the admin key."""

    def __init__(self, app, http):
        self.app = app
        self.http = http

    @property
    def state(self):
        return self.app.state.service

    async def upload(self, values, **params):
        answer = await self.http.post(
            "/v1/datasets", content=npy(values), headers={"Content-Type": NPY}, params=params
        )
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["digest"]

    async def submit(self, dataset, *, status=202, **asked):
        body = {"dataset": dataset, "kernel": KERNEL, "block_size": 8, **asked}
        answer = await self.http.post("/v1/jobs", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def job(self, job):
        return (await self.http.get(f"/v1/jobs/{job['id']}")).json()

    async def until(self, job, *states, timeout_s=60):
        """Return the job's body as soon as its state is one of these."""
        async with asyncio.timeout(timeout_s):
            while (body := await self.job(job))["state"] not in states:
                await asyncio.sleep(0.02)
        return body

    async def compute(self, values, **asked):
        """Upload, submit and wait; return the job's body."""
        job = await self.submit(await self.upload(values), **asked)
        body = await self.until(job, "succeeded", "failed", "cancelled")
        assert body["state"] == "succeeded", body
        return body

    async def rows(self, gram, **params):
        answer = await self.http.get(f"/v1/grams/{gram}/rows", params=params)
        assert answer.status_code == 200, answer.text
        return array_of(answer)


def settings_of(folder, **changes):
    """Return settings of a small server that computes in a thread of its own."""
    known = {"data_dir": folder / "state", "workers": 0, "api_key": SecretStr(KEY)}
    return Settings(**(known | changes))


@contextlib.asynccontextmanager
async def running_service(folder, **changes):
    """Run the application on a directory."""
    app = create_app(settings_of(folder, **changes))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=RowLane(app))
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gramserve.test", headers=headers, timeout=60
        ) as http:
            yield Service(app, http)


def problem(answer, status, code):
    """Check that an answer is a problem document of this kind, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["title"]
    assert body["detail"]
    assert body["type"].endswith(code)
    assert body["instance"] == answer.request.url.path
    assert isinstance(body["errors"], list)
    return body
