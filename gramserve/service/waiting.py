"""Why a job waits, in words for people."""

from collections.abc import Collection, Iterable

from gramserve.catalog import JobRecord
from gramserve.service.job_run import JobRun


def waiting_reason(
    job: JobRecord, runs: Iterable[JobRun], elsewhere: Collection[str], limit: int
) -> str | None:
    """Return why a queued job waits.

    Parameters
    ----------
    job : JobRecord
        A queued one.
    runs : iterable of JobRun
        What is computed here.
    elsewhere : collection of str
        Gram matrices that other servers compute.
    limit : int
        Runs that may be computed here side by side.

    Returns
    -------
    str or None
        None when nothing keeps it.
    """
    wanted, runs = set(job.grams.values()), tuple(runs)
    for run in runs:
        if wanted.isdisjoint(run.grams):
            continue
        if run.is_stopping:
            return "blocks that workers had begun are being finished; it goes on then"
        return (
            f"job {run.job.id} computes one of its Gram matrices; this one takes over what is "
            "stored when that one has ended"
        )
    if not wanted.isdisjoint(elsewhere):
        return "another server computes one of its Gram matrices"
    if len(runs) >= limit:
        return (
            f"{len(runs)} jobs run and no more may at once (GRAMSERVE_CONCURRENT_JOBS); it starts "
            "when one has ended"
        )
    return None
