"""What a job looked like after each of its events: what streams and replays are made of."""

from dataclasses import replace

from gramserve.catalog import EventRecord, JobRecord
from gramserve.spec.status import TERMINAL_STATES


class JobHistory:
    """Applies a job's events, the first one first, to what never changes of it.

    Parameters
    ----------
    job : JobRecord
        As it is now, or as it was at any time.
    """

    def __init__(self, job: JobRecord) -> None:
        self._job = replace(
            job,
            state="queued",
            waiting_reason=None,
            error=None,
            started=None,
            finished=None,
            blocks_done=job.blocks_reused,
            blocks_failed=0,
        )

    def apply(self, event: EventRecord) -> JobRecord:
        """Return the job as it was after the next event.

        Parameters
        ----------
        event : EventRecord
            The one that follows those applied before.

        Returns
        -------
        JobRecord
            With state, reasons, times and counts of that moment.
        """
        data = event.data
        if event.kind == "progress":
            self._job = replace(
                self._job,
                blocks_done=data["done"],
                blocks_reused=data["reused"],
                blocks_failed=data["failed"],
                blocks_total=data["total"],
            )
            return self._job
        state = data["state"]
        begins = state in {"planning", "running"} and self._job.started is None
        self._job = replace(
            self._job,
            state=state,
            waiting_reason=data["waiting_reason"],
            error=data["error"],
            epoch=data["epoch"],
            started=event.at if begins else self._job.started,
            finished=event.at if state in TERMINAL_STATES else None,
        )
        return self._job
