"""One connection to a server: requests, retries, errors and arrays."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import stamina
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from gramserve.client.problems import error_of, is_transient, malformed, unreachable
from gramserve.errors import GramserveError

DEFAULT_URL = "http://127.0.0.1:8750"
"""Where `gramserve serve` listens when nothing else is said."""

_ATTEMPTS = 4
_PAGE = 1000
_RETRY_WINDOW_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_BAD_REQUEST = 400
_ADVICE = "check the address and the versions of client and server"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Connection:
    """Requests to one server, with its errors turned into gramserve's.

    Parameters
    ----------
    url : str, optional
        The server's address; ``GRAMSERVE_URL``, then ``http://127.0.0.1:8750``.
    api_key : str, optional
        Sent as a bearer key; ``GRAMSERVE_API_KEY``.
    timeout_s : float
        Seconds to wait for each piece of an answer.
    transport : httpx.BaseTransport, optional
        Takes the place of the network.

    Notes
    -----
    May be used by several threads. Requests that may be repeated without harm are repeated
    when the connection is lost, never when the server refused (4xx).
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = (url or os.environ.get("GRAMSERVE_URL") or DEFAULT_URL).rstrip("/")
        self.timeout_s = timeout_s
        self.api_key = api_key or os.environ.get("GRAMSERVE_API_KEY") or None
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            timeout=self._timeout(timeout_s),
            transport=transport,
            # A proxy from the environment cannot reach this machine's own addresses.
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
        )

    def close(self) -> None:
        """Close the sockets."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer of a GET, asking again when the connection is lost.

        Parameters
        ----------
        path : str
            Below the server's address, ``"/v1/jobs"``.
        params : mapping, optional
            Query parameters.

        Returns
        -------
        object
            The decoded JSON.
        """
        return self.repeat(lambda: self.send("GET", path, params=params))

    def get_list(self, path: str, params: Mapping[str, Any] | None = None) -> list[Any]:
        """Return all objects of a listing, page by page.

        The body of a page is ``{"<what>": [...]}``.

        Parameters
        ----------
        path : str
            Below the server's address; its last word is what is listed.
        params : mapping, optional
            Query parameters.

        Returns
        -------
        list
            The decoded objects.
        """
        found: list[Any] = []
        while True:
            page = {**(params or {}), "limit": _PAGE, "offset": len(found)}
            body = self.get(path, page)
            listed = body.get(path.rsplit("/", 1)[-1]) if isinstance(body, dict) else None
            if not isinstance(listed, list):
                msg = f"{self.url}{path} answered something that is not a listing; {_ADVICE}"
                raise GramserveError(msg, url=self.url)
            found += listed
            if len(listed) < _PAGE:
                return found

    def read_body[B: BaseModel](self, model: type[B], body: Any) -> B:
        """Read an answer as one of the bodies of :mod:`gramserve.spec.status`.

        Parameters
        ----------
        model : type of BaseModel
            What it should be.
        body : object
            Decoded JSON.

        Returns
        -------
        BaseModel
            The answer, of type ``model``.
        """
        try:
            return model.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            msg = (
                f"{self.url} answered a {model.__name__} that cannot be read "
                f"({where}: {first['msg']}); {_ADVICE}"
            )
            raise GramserveError(msg, url=self.url) from None

    def send(
        self, method: str, path: str, *, timeout_s: float | None = None, **request: Any
    ) -> Any:
        """Send one request once and return its JSON answer.

        Parameters
        ----------
        method, path : str
            Verb, and path below the server's address.
        timeout_s : float, optional
            Seconds to wait for each piece of the answer; the connection's when not given.
        **request
            What :meth:`httpx.Client.build_request` takes: ``json``, ``content``, ``headers``,
            ``params``.

        Returns
        -------
        object
            The decoded JSON; None for an empty answer.
        """
        with self.stream(method, path, timeout_s=timeout_s, **request) as response:
            self._receive(response)
            if not response.content:
                return None
            try:
                return response.json()
            except ValueError:
                kind = response.headers.get("content-type", "no content type")
                raise malformed(response, f"{kind} that is not JSON") from None

    @contextlib.contextmanager
    def stream(
        self, method: str, path: str, *, timeout_s: float | None = None, **request: Any
    ) -> Iterator[httpx.Response]:
        """Send one request and lend its answer before the body is read.

        Parameters
        ----------
        method, path, timeout_s, **request
            As in :meth:`send`.

        Yields
        ------
        httpx.Response
            Its status is below 400.

        Raises
        ------
        GramserveError
            The error the server's problem document stands for.
        ServiceUnreachableError
            When the connection fails or ends early, also while the caller reads.
        """
        timeout = self._timeout(self.timeout_s if timeout_s is None else timeout_s)
        try:
            with self._http.stream(method, path, timeout=timeout, **request) as response:
                if response.status_code >= _BAD_REQUEST:
                    self._receive(response)
                    raise error_of(response)
                yield response
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            if isinstance(error, httpx.TransportError):
                raise unreachable(self.url, error) from error
            raise

    def fetch_array(self, method: str, path: str, **request: Any) -> NDArray[Any]:
        """Stream an array answer into memory, asking again when the connection is lost.

        Parameters
        ----------
        method, path, **request
            As in :meth:`fetch_array_once`; the body must not be a stream.

        Returns
        -------
        ndarray
            The numbers.
        """
        return self.repeat(lambda: self.fetch_array_once(method, path, **request))

    def fetch_array_once(
        self,
        method: str,
        path: str,
        *,
        out: NDArray[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> NDArray[Any]:
        """Stream an array answer into memory.

        Parameters
        ----------
        method, path, **request
            As in :meth:`send`.
        out : ndarray, C-contiguous, optional
            Where to put the numbers; its shape and dtype must be the answer's.
        headers : mapping, optional
            Further headers.

        Returns
        -------
        ndarray
            ``out``, or a new array of the shape and dtype that the answer declares.
        """
        wanted = {
            **(headers or {}),
            "Accept": "application/octet-stream",
            # Arrays hardly compress, and lengths must be those of the numbers.
            "Accept-Encoding": "identity",
        }
        with self.stream(method, path, headers=wanted, **request) as response:
            return _array_of(response, out)

    def repeat[T](self, once: Callable[[], T]) -> T:
        """Call a function again, with growing pauses, while the server is away.

        Parameters
        ----------
        once : callable
            Sends one request that may be repeated without harm.

        Returns
        -------
        object
            What it returned.
        """
        for attempt in stamina.retry_context(
            on=is_transient,
            attempts=_ATTEMPTS,
            timeout=_RETRY_WINDOW_S,
            wait_initial=0.1,
            wait_max=2.0,
            wait_jitter=0.2,
        ):
            with attempt:
                return once()
        msg = "stamina ended without a result or an error"  # pragma: no cover
        raise RuntimeError(msg)  # pragma: no cover

    @staticmethod
    def _timeout(seconds: float) -> httpx.Timeout:
        return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_TIMEOUT_S))

    @staticmethod
    def _receive(response: httpx.Response) -> None:
        try:
            response.read()
        except httpx.DecodingError as error:
            raise malformed(response, str(error)) from None


def _array_of(response: httpx.Response, out: NDArray[Any] | None) -> NDArray[Any]:
    try:
        shape = tuple(int(n) for n in re.findall(r"\d+", response.headers["x-gram-shape"]))
        dtype = np.dtype(response.headers["x-gram-dtype"]).newbyteorder("<")
    except (KeyError, TypeError, ValueError):
        raise malformed(response, "an array without its shape and dtype") from None
    if out is None:
        out = np.empty(shape, dtype)
    elif shape != out.shape or dtype != out.dtype:
        why = f"{shape} {dtype} where {out.shape} {out.dtype} was asked for"
        raise malformed(response, why)
    # A view of bytes; reshape cannot copy because the array is contiguous.
    target = memoryview(out.reshape(-1).view(np.uint8))
    filled = 0
    for piece in response.iter_raw():
        if filled + len(piece) > len(target):
            raise malformed(response, f"more than the {len(target)} bytes of {shape} {dtype}")
        target[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled != len(target):
        raise malformed(response, f"{filled} of the {len(target)} bytes of {shape} {dtype}")
    return out
