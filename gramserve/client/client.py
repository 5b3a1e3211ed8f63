"""The door of a notebook to a server."""

import uuid
from collections.abc import Mapping
from typing import Any, Self

import httpx

from gramserve.client.cache import Cache
from gramserve.client.connection import Connection
from gramserve.client.datasets import PLACEHOLDER, Data, Datasets, digest_of_data, unsent
from gramserve.client.gram import Gram
from gramserve.client.items import check_finite, items_of
from gramserve.client.job import Job
from gramserve.client.plan import Plan
from gramserve.spec import KernelSpec, Precision, infer_shapes, parse_job, parse_kernel
from gramserve.spec.status import GramReport, JobReport


class Client:
    """A connection to a server; use it as a context manager or close it.

    Parameters
    ----------
    url, api_key, timeout_s, transport
        As in :class:`gramserve.client.connection.Connection`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = Connection(url, api_key, timeout_s, transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    @property
    def datasets(self) -> Datasets:
        """The server's data sets."""
        return Datasets(self.connection)

    @property
    def cache(self) -> Cache:
        """What the server stores of Gram matrices."""
        return Cache(self.connection)

    def plan(
        self,
        data: Data,
        other: Data | None = None,
        *,
        kernel: str | Mapping[str, Any] | KernelSpec,
        precision: Precision = "float32",
        block_size: int | None = None,
    ) -> Plan:
        """Say how a job would be cut and what it would cost, without running it.

        Parameters
        ----------
        data : Dataset, digest, path or array_like
            Items of the rows; files and arrays are uploaded.
        other : Dataset, digest, path or array_like, optional
            Items of the columns; the symmetric matrix of ``data`` when not given.
        kernel : str, mapping or KernelSpec
            A preset's name, a preset with options, or a full spec.
        precision : {"float32", "mixed", "float64"}
            How the numbers are computed and stored.
        block_size : int, optional
            Rows and columns of a block; chosen by the server when not given.

        Returns
        -------
        Plan
            A :class:`~gramserve.spec.status.PlanReport` that shows itself.
        """
        request = {"kernel": kernel, "precision": precision, "block_size": block_size}
        body = self._body(data, other, request)
        answer = self.connection.repeat(
            lambda: self.connection.send("POST", "/v1/plans", json=body)
        )
        return self.connection.read_body(Plan, answer)

    def submit(
        self,
        data: Data,
        *,
        other: Data | None = None,
        kernel: str | Mapping[str, Any] | KernelSpec,
        precision: Precision = "float32",
        block_size: int | None = None,
        priority: int = 0,
    ) -> Job:
        """Ask for a Gram matrix.

        Parameters
        ----------
        data, other, kernel, precision, block_size
            As in :meth:`plan`.
        priority : int
            Higher goes first, -100 to 100.

        Returns
        -------
        Job
            Finished at once when every block is stored already.
        """
        request = {
            "kernel": kernel,
            "precision": precision,
            "block_size": block_size,
            "priority": priority,
        }
        body = self._body(data, other, request)
        # The key makes repeating a lost request harmless: it is one job, however often sent.
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer = self.connection.repeat(
            lambda: self.connection.send("POST", "/v1/jobs", json=body, headers=headers)
        )
        return Job(self.connection, self.connection.read_body(JobReport, answer))

    def jobs(self) -> list[Job]:
        """Return all jobs.

        Returns
        -------
        list of Job
            As the server orders them.
        """
        return [
            Job(self.connection, self.connection.read_body(JobReport, body))
            for body in self.connection.get_list("/v1/jobs")
        ]

    def job(self, job_id: str) -> Job:
        """Return one job.

        Parameters
        ----------
        job_id : str
            Its id.

        Returns
        -------
        Job
            The job.

        Raises
        ------
        JobNotFoundError
            When there is none.
        """
        body = self.connection.get(f"/v1/jobs/{job_id}")
        return Job(self.connection, self.connection.read_body(JobReport, body))

    def grams(self) -> list[Gram]:
        """Return all Gram matrices.

        Returns
        -------
        list of Gram
            As the server orders them.
        """
        return [
            Gram(self.connection, self.connection.read_body(GramReport, body))
            for body in self.connection.get_list("/v1/grams")
        ]

    def gram(self, gram_id: str) -> Gram:
        """Return one Gram matrix.

        Parameters
        ----------
        gram_id : str
            32 hexadecimal digits.

        Returns
        -------
        Gram
            The matrix.

        Raises
        ------
        StoreNotFoundError
            When there is none.
        """
        body = self.connection.get(f"/v1/grams/{gram_id}")
        return Gram(self.connection, self.connection.read_body(GramReport, body))

    def close(self) -> None:
        """Close the sockets; what runs at the server goes on."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _body(self, data: Data, other: Data | None, request: Mapping[str, Any]) -> dict[str, Any]:
        """Check the request here, upload what has to be, and return the body."""
        kernel = request["kernel"]
        body: dict[str, Any] = {
            **request,
            "dataset": digest_of_data(data) or PLACEHOLDER,
            "other": None if other is None else digest_of_data(other) or PLACEHOLDER,
            "kernel": kernel if isinstance(kernel, str) else parse_kernel(kernel).canonical(),
        }
        # Before a large upload, not after it: a misspelt kernel should cost nothing.
        _, spec = parse_job(body)
        for source in (data, other):
            if source is not None and digest_of_data(source) is None:
                values = items_of(unsent(source))
                infer_shapes(spec, values.shape[1:])
                check_finite(values)
        body["dataset"] = self._uploaded(data)
        body["other"] = None if other is None else self._uploaded(other)
        return body

    def _uploaded(self, data: Data) -> str:
        return digest_of_data(data) or self.datasets.upload(unsent(data)).digest


def connect(
    url: str | None = None, *, api_key: str | None = None, timeout_s: float = 60.0
) -> Client:
    """Return a client of the server at an address; nothing is sent before the first use.

    Parameters
    ----------
    url : str, optional
        The server's address; ``GRAMSERVE_URL`` from the environment, then
        ``http://127.0.0.1:8750``.
    api_key : str, optional
        The bearer key; ``GRAMSERVE_API_KEY`` from the environment.
    timeout_s : float
        Seconds to wait for each piece of an answer.

    Returns
    -------
    Client
        A context manager.

    Examples
    --------
    >>> with connect("http://127.0.0.1:8750", api_key="...") as client:
    ...     client
    Client('http://127.0.0.1:8750')
    """
    return Client(url, api_key=api_key, timeout_s=timeout_s)
