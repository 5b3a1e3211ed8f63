"""The few things that tests ask a server in another process."""

import time

import httpx
import numpy as np
from service_app import npy

ENDED = ("succeeded", "failed", "cancelled")


class Talk:
    """A connection to a :class:`live_server.LiveServer`; a context."""

    def __init__(self, server):
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.key}"},
            timeout=30,
            trust_env=False,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def upload(self, values):
        """Return the digest of uploaded items."""
        kind = {"Content-Type": "application/x-npy"}
        answer = self.http.post("/v1/datasets", content=npy(values), headers=kind)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["digest"]

    def submit(self, dataset, **asked):
        """Return the body of a new job."""
        answer = self.http.post("/v1/jobs", json={"dataset": dataset, **asked})
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()

    def job(self, job):
        """Return the body of a job as it is now."""
        answer = self.http.get(f"/v1/jobs/{job['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job, timeout_s=60):
        """Return the body of a job when it has ended."""
        return self.until(job, lambda body: body["state"] in ENDED, timeout_s)

    def until(self, job, is_so, timeout_s=60):
        """Return the body of a job as soon as something is so."""
        end = time.monotonic() + timeout_s
        while not is_so(body := self.job(job)):
            assert time.monotonic() < end, body
            time.sleep(0.05)
        return body

    def rows(self, gram):
        """Return a whole float32 matrix."""
        answer = self.http.get(f"/v1/grams/{gram}/rows")
        assert answer.status_code == 200, answer.text
        shape = [int(length) for length in answer.headers["x-gram-shape"].split(",")]
        return np.frombuffer(answer.content, "<f4").reshape(shape)
