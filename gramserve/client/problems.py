"""Answers that are not what was asked for, as the errors they stand for."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from gramserve.errors import AccessError, GramserveError, ServiceUnreachableError, error_for_code

_STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "errors"})
_TRANSIENT_STATUSES = frozenset({502, 503, 504})
_ARGUMENTS = frozenset({"message", "errors", "self"})


def error_of(response: httpx.Response) -> GramserveError:
    """Turn a refusal of the server into the error that it stands for.

    Parameters
    ----------
    response : httpx.Response
        With a status of 400 or more and its body read.

    Returns
    -------
    GramserveError
        Of the class whose ``code`` the problem document names, with its message, its list of
        faults and its further members as ``context``.
    """
    body = _problem_members(response)
    if body is None:
        return _not_a_problem(response)
    context = {name: value for name, value in body.items() if name not in _STANDARD_MEMBERS}
    nested = context.pop("context", None)
    if isinstance(nested, Mapping):
        context.update(nested)
    context["status"] = response.status_code
    if "retry-after" in response.headers:
        context.setdefault("retry_after", response.headers["retry-after"])
    kind = error_for_code(str(body.get("code", "")))
    message = str(body.get("detail") or body.get("title") or f"status {response.status_code}")
    if issubclass(kind, AccessError) and "GRAMSERVE_API_KEY" not in message:
        message += "; give a key as connect(api_key=...) or in GRAMSERVE_API_KEY"
    errors = [fault for fault in body.get("errors") or () if isinstance(fault, Mapping)]
    facts = {name: value for name, value in context.items() if name not in _ARGUMENTS}
    return kind(message, errors=errors, **facts)


def is_transient(error: BaseException) -> bool:
    """Return whether asking again may help: the server was away, not unwilling.

    Parameters
    ----------
    error : BaseException
        What a request raised.

    Returns
    -------
    bool
        True for lost connections and for 502, 503 and 504.
    """
    if isinstance(error, ServiceUnreachableError):
        return True
    return isinstance(error, GramserveError) and (
        error.context.get("status") in _TRANSIENT_STATUSES
    )


def unreachable(url: str, error: httpx.HTTPError) -> ServiceUnreachableError:
    """Say that no server answers, where it was looked for, and how to start one.

    Parameters
    ----------
    url : str
        The server's address.
    error : httpx.HTTPError
        What happened to the request.

    Returns
    -------
    ServiceUnreachableError
        To be raised.
    """
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServiceUnreachableError(
            f"no gramserve answers at {url} ({error}); start one with `gramserve serve`, or name "
            "the address of a running one with connect(url) or GRAMSERVE_URL",
            url=url,
        )
    what = "took too long" if isinstance(error, httpx.TimeoutException) else "was cut off"
    return ServiceUnreachableError(
        f"the answer of {url} {what} ({type(error).__name__}: {error}); is `gramserve serve` "
        "still running there?",
        url=url,
    )


def malformed(response: httpx.Response, why: str) -> GramserveError:
    """Say that an answer is not what gramserve would send.

    Parameters
    ----------
    response : httpx.Response
        The answer.
    why : str
        What is wrong with it.

    Returns
    -------
    GramserveError
        To be raised.
    """
    return GramserveError(
        f"{response.request.url} answered something that gramserve would not: {why}; "
        "check the address and the versions of client and server",
        url=str(response.request.url),
        status=response.status_code,
    )


def _problem_members(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    return body if isinstance(body, dict) and "code" in body else None


def _not_a_problem(response: httpx.Response) -> GramserveError:
    kind = response.headers.get("content-type", "no content type")
    status = response.status_code
    if status in _TRANSIENT_STATUSES:
        url = response.request.url
        return ServiceUnreachableError(
            f"{url.scheme}://{url.netloc.decode()} answers {status}: something stands there, but "
            "the gramserve behind it does not answer; is `gramserve serve` running?",
            url=str(url),
            status=status,
        )
    return malformed(response, f"status {status} with {kind}")
