"""Records of the catalog as the bodies that go out."""

from collections.abc import Iterable, Mapping
from typing import Any

from gramserve.catalog import BlockRecord, DatasetRecord, GramRecord, JobRecord, KeyRecord
from gramserve.service.pace import Pace
from gramserve.spec.status import (
    BlockCounts,
    DatasetInfo,
    FailedBlock,
    GramReport,
    JobError,
    JobReport,
    Preprocessing,
)


def dataset_report(record: DatasetRecord) -> DatasetInfo:
    """Return the body of a data set."""
    return DatasetInfo(
        digest=record.digest,
        shape=record.shape,
        dtype=record.dtype,
        items=record.items,
        bytes=record.bytes,
        name=record.name,
        created=record.created,
        preprocessing=(
            None
            if record.preprocessing is None
            else Preprocessing.model_validate(record.preprocessing)
        ),
    )


def job_report(
    record: JobRecord, *, pace: Pace | None = None, failed: Iterable[BlockRecord] = ()
) -> JobReport:
    """Return the body of a job.

    Parameters
    ----------
    record : JobRecord
        From the catalog.
    pace : Pace, optional
        How fast it is, when it is running here.
    failed : iterable of BlockRecord
        Blocks that were set aside.

    Returns
    -------
    JobReport
        Blocks that failed for several kernels are listed once.
    """
    pace = pace or Pace()
    grams = dict(record.grams)
    faults = {(block.i, block.j): _message(block.error) for block in failed}
    total = record.blocks_total
    return JobReport.model_validate(
        {
            "id": record.id,
            "state": record.state,
            "gram": next(iter(grams.values())) if len(grams) == 1 else None,
            "grams": grams,
            "dataset": record.dataset,
            "other": record.other,
            "kernel": dict(record.spec),
            "precision": record.precision,
            "block_size": record.block_size,
            "priority": record.priority,
            "blocks": BlockCounts(
                total=total,
                done=record.blocks_done,
                reused=record.blocks_reused,
                failed=record.blocks_failed,
            ),
            "progress": record.blocks_done / total if total else 0.0,
            "rate_entries_per_s": pace.entries_per_s,
            "eta_s": pace.eta_s,
            "waiting_reason": record.waiting_reason,
            "created": record.created,
            "started": record.started,
            "finished": record.finished,
            "error": None if record.error is None else JobError.model_validate(record.error),
            "failed_blocks": [
                FailedBlock(block=block, error=error) for block, error in sorted(faults.items())
            ],
        }
    )


def _message(error: Mapping[str, Any] | None) -> str:
    return "" if error is None else str(error.get("message", ""))


def gram_report(
    record: GramRecord, *, stored: int, failed: int = 0, jobs: Iterable[str] = ()
) -> GramReport:
    """Return the body of a Gram matrix.

    Parameters
    ----------
    record : GramRecord
        From the catalog.
    stored : int
        Blocks in the store.
    failed : int
        Blocks that were set aside.
    jobs : iterable of str
        Ids of the jobs that asked for it.

    Returns
    -------
    GramReport
        The body.
    """
    return GramReport.model_validate(
        {
            "id": record.id,
            "kernel": dict(record.spec),
            "dataset": record.dataset,
            "other": record.other,
            "shape": (record.rows, record.columns),
            "dtype": record.dtype,
            "precision": record.precision,
            "block_size": record.block_size,
            "complete": stored == record.blocks_total,
            "blocks": BlockCounts(total=record.blocks_total, done=stored, failed=failed),
            "jobs": list(jobs),
            "created": record.created,
        }
    )


def key_report(record: KeyRecord) -> dict[str, Any]:
    """Return the body of an API key, without its hash."""
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "scopes": list(record.scopes),
        "created": record.created,
        "expires": record.expires,
        "last_used": record.last_used,
        "revoked": record.revoked,
    }
