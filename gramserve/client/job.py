"""A job on a server."""

from typing import Any

from gramserve.client.cards import html_card, kernel_text, text_card
from gramserve.client.connection import Connection
from gramserve.client.gram import Gram
from gramserve.client.progress import JobBar, describe
from gramserve.client.watch import GIVE_UP_S, JobWatch
from gramserve.errors import BlockError, GramserveError, JobCancelledError, error_for_code
from gramserve.spec import OutputName
from gramserve.spec.status import GramReport, JobReport, JobState

_NAMED_BLOCKS = 5


class Job:
    """One asking for a Gram matrix, or for two of the same network.

    Parameters
    ----------
    connection : Connection
        To the server.
    report : JobReport
        What the server says about it.
    """

    def __init__(self, connection: Connection, report: JobReport) -> None:
        self._connection = connection
        self._report = report

    @property
    def id(self) -> str:
        """What names it at the server."""
        return self._report.id

    @property
    def state(self) -> JobState:
        """Where it was at the last :meth:`refresh`."""
        return self._report.state

    @property
    def report(self) -> JobReport:
        """All that the server said at the last :meth:`refresh`."""
        return self._report

    def refresh(self) -> JobReport:
        """Ask the server again.

        Returns
        -------
        JobReport
            Also kept as :attr:`report`.
        """
        return self._take(self._connection.get(f"/v1/jobs/{self.id}"))

    def wait(
        self,
        timeout_s: float | None = None,
        progress: bool = True,
        *,
        give_up_s: float = GIVE_UP_S,
    ) -> Gram | dict[OutputName, Gram]:
        """Wait until it has ended, through lost connections and restarts of the server.

        Parameters
        ----------
        timeout_s : float, optional
            Seconds to wait at most; without end when not given.
        progress : bool
            Show a bar with blocks, rate, time left and why it waits.
        give_up_s : float
            Seconds that the server may be away.

        Returns
        -------
        Gram or dict of Gram
            The matrix; with several kernels, one for each by name.

        Raises
        ------
        BlockError
            Or the error of whatever made the job fail; ``errors`` has the failed blocks.
        JobCancelledError
            When it was cancelled.
        WaitTimeoutError
            After ``timeout_s``; the job goes on.
        ServiceUnreachableError
            When the server stayed away.
        """
        with JobBar(f"job {self.id[:8]}", visible=progress) as bar:
            watch = JobWatch(
                self._connection,
                self.id,
                timeout_s=timeout_s,
                give_up_s=give_up_s,
                on_trouble=bar.trouble,
            )
            for report in watch.reports():
                self._report = report
                bar.show(report)
        if self.state != "succeeded":
            raise _failure(self._report)
        grams = {name: self._gram(gram_id) for name, gram_id in self._report.grams.items()}
        return next(iter(grams.values())) if len(grams) == 1 else grams

    def cancel(self) -> JobReport:
        """Stop it; what is stored stays.

        Returns
        -------
        JobReport
            Its state is "cancelling" or "cancelled".
        """
        return self._take(self._connection.send("DELETE", f"/v1/jobs/{self.id}"))

    def pause(self) -> JobReport:
        """Let it rest after the blocks in flight.

        Returns
        -------
        JobReport
            Its state is "paused".
        """
        return self._take(self._connection.send("POST", f"/v1/jobs/{self.id}:pause"))

    def resume(self) -> JobReport:
        """Let a paused job go on.

        Returns
        -------
        JobReport
            Its state is "queued" or further.
        """
        return self._take(self._connection.send("POST", f"/v1/jobs/{self.id}:resume"))

    def __repr__(self) -> str:
        return text_card(f"Job {self.id}", self._facts())

    def _repr_html_(self) -> str:
        return html_card(f"Job {self.id}", self._facts())

    def _facts(self) -> dict[str, object]:
        report = self._report
        return {
            "state": describe(report),
            "blocks": f"{report.blocks.done} of {report.blocks.total} ({report.progress:.0%})",
            "kernel": kernel_text(report.kernel),
            "precision": report.precision,
            "gram": ", ".join(f"{name} {gram_id}" for name, gram_id in report.grams.items()),
            "data set": report.dataset[:12],
            "other": None if report.other is None else report.other[:12],
            "created": report.created,
            "error": None if report.error is None else report.error.message,
        }

    def _take(self, body: Any) -> JobReport:
        if body is None:  # An empty answer to a command: the report is one question away.
            body = self._connection.get(f"/v1/jobs/{self.id}")
        self._report = self._connection.read_body(JobReport, body)
        return self._report

    def _gram(self, gram_id: str) -> Gram:
        body = self._connection.get(f"/v1/grams/{gram_id}")
        return Gram(self._connection, self._connection.read_body(GramReport, body))


def _failure(report: JobReport) -> GramserveError:
    done, total = report.blocks.done, report.blocks.total
    if report.state == "cancelled":
        msg = (
            f"job {report.id} was cancelled with {done} of {total} blocks stored; submit the same "
            "request again to compute the rest"
        )
        return JobCancelledError(msg, job=report.id)
    faults = [
        {"loc": f"blocks[{failed.block[0]}, {failed.block[1]}]", "message": failed.error}
        for failed in report.failed_blocks
    ]
    kind = error_for_code(report.error.code) if report.error else BlockError
    lines = [f"job {report.id} failed with {done} of {total} blocks stored"]
    if report.error:
        lines[0] += f": {report.error.message}"
    lines += [f"  {fault['loc']}: {fault['message']}" for fault in faults[:_NAMED_BLOCKS]]
    if len(faults) > _NAMED_BLOCKS:
        lines.append(f"  and {len(faults) - _NAMED_BLOCKS} more")
    blocks = [list(failed.block) for failed in report.failed_blocks]
    return kind("\n".join(lines), errors=faults, job=report.id, blocks=blocks)
