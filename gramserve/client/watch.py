"""Follow one job until it ends, through lost connections and restarts of the server."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator

import httpx
from httpx_sse import EventSource, SSEError

from gramserve.client.connection import Connection
from gramserve.client.problems import is_transient
from gramserve.errors import GramserveError, WaitTimeoutError
from gramserve.spec.status import JobReport

GIVE_UP_S = 300.0
"""How long a server may be away before waiting for it ends."""

_SILENCE_S = 45.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class JobWatch:
    """Reports of one job as the server makes them.

    The job's events are followed as server-sent events; after a lost connection the stream is
    taken up again with ``Last-Event-ID``. Where no stream can be had (an old proxy), the job
    is asked about again and again, with growing pauses.

    Parameters
    ----------
    connection : Connection
        To the server.
    job_id : str
        Which job.
    timeout_s : float, optional
        Seconds after which waiting ends; never when not given.
    give_up_s : float
        Seconds without any answer after which waiting ends.
    on_trouble : callable, optional
        Told, in a few words, that the server does not answer at the moment.
    """

    def __init__(
        self,
        connection: Connection,
        job_id: str,
        *,
        timeout_s: float | None = None,
        give_up_s: float = GIVE_UP_S,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._path = f"/v1/jobs/{job_id}"
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._give_up_s = give_up_s
        self._on_trouble = on_trouble or (lambda _: None)
        self._last_event = ""
        self._streams = True
        self._pause_s = _FIRST_PAUSE_S
        self._last: JobReport | None = None

    def reports(self) -> Iterator[JobReport]:
        """Yield the job's reports, the first one at once, until it has ended.

        Yields
        ------
        JobReport
            The last one has a terminal state.

        Raises
        ------
        WaitTimeoutError
            After ``timeout_s``.
        ServiceUnreachableError
            After ``give_up_s`` without an answer.
        """
        while True:
            report = self._ask()
            yield report
            if report.is_finished:
                return
            with contextlib.closing(self._stream()) as stream:
                for report in stream:
                    yield report
                    if report.is_finished:
                        return
            self._rest()

    def _ask(self) -> JobReport:
        lost_since: float | None = None
        while True:
            try:
                body = self._connection.get(self._path)
            except GramserveError as error:
                now = time.monotonic()
                lost_since = now if lost_since is None else lost_since
                if not is_transient(error) or now - lost_since > self._give_up_s:
                    raise
                self._on_trouble("the server does not answer, trying again")
                self._rest()
            else:
                self._last = self._connection.read_body(JobReport, body)
                return self._last

    def _stream(self) -> Generator[JobReport]:
        """Yield reports until the stream ends or breaks, which is no error."""
        if not self._streams:
            return
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_event:
            headers["Last-Event-ID"] = self._last_event
        try:
            silence_s = min(_SILENCE_S, self._left())
            with self._connection.stream(
                "GET", f"{self._path}/events", headers=headers, timeout_s=silence_s
            ) as response:
                for event in EventSource(response).iter_sse():
                    if event.event not in ("progress", "state") or not event.data:
                        continue
                    self._last_event = event.id or self._last_event
                    self._pause_s = _FIRST_PAUSE_S
                    self._last = self._connection.read_body(JobReport, event.json())
                    yield self._last
                    self._left()
        except (SSEError, httpx.DecodingError, ValueError):
            # Something on the way does not pass event streams.
            self._streams = False
        except WaitTimeoutError:
            raise
        except GramserveError as error:
            self._streams = is_transient(error)

    def _rest(self) -> None:
        time.sleep(min(self._pause_s, self._left()))
        self._pause_s = min(self._pause_s * 1.6, _LONGEST_PAUSE_S)

    def _left(self) -> float:
        """Return the seconds left to wait, at least a few milliseconds."""
        if self._deadline is None:
            return float("inf")
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            state = "not known" if self._last is None else self._last.state
            msg = (
                f"{self._path} is not finished (state: {state}); it goes on at the server: "
                "wait() again, or cancel() it"
            )
            done = None if self._last is None else self._last.progress
            raise WaitTimeoutError(msg, state=state, progress=done)
        return max(left_s, 0.005)
