"""How a job moves from state to state: by compare-and-set, one event for every move."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gramserve.catalog import tables
from gramserve.catalog.events import append_event, prune_progress
from gramserve.catalog.facet import Facet, uninterrupted
from gramserve.catalog.jobs import lock_job
from gramserve.catalog.records import JobRecord
from gramserve.catalog.times import utc_now
from gramserve.catalog.transitions import FRESH_EPOCH_STATES, HELD_STATES, check_transition
from gramserve.errors import IllegalTransitionError
from gramserve.spec.status import TERMINAL_STATES

_jobs = tables.jobs


async def move_job(
    connection: AsyncConnection,
    job: JobRecord,
    to_state: str,
    *,
    at: datetime,
    waiting_reason: str | None = None,
    error: Mapping[str, Any] | None = None,
    engine: str | None = None,
    dispatcher: str | None = None,
) -> JobRecord:
    """Move a locked job, and write the event.

    Parameters
    ----------
    connection : AsyncConnection
        In a transaction that writes.
    job : JobRecord
        As it is in the database.
    to_state : str
        Where it goes; must be allowed.
    at : datetime
        When.
    waiting_reason : str, optional
        Replaces the present one.
    error : mapping, optional
        Of a job that fails.
    engine : str, optional
        The engine that runs it; None keeps the present one.
    dispatcher : str, optional
        Who holds it now; None keeps the present holder while the new state is a held one.

    Returns
    -------
    JobRecord
        After the move.

    Raises
    ------
    IllegalTransitionError
        When the table of transitions does not hold it.
    """
    check_transition(job.id, job.state, to_state)
    epoch = job.epoch + (to_state in FRESH_EPOCH_STATES)
    holder = dispatcher or job.dispatcher
    changes: dict[str, Any] = {
        "state": to_state,
        "epoch": epoch,
        "waiting_reason": waiting_reason,
        "error": None if error is None else dict(error),
        "engine": engine or job.engine,
        "dispatcher": holder if to_state in HELD_STATES else None,
        "started": job.started or (at if to_state in {"planning", "running"} else None),
        "finished": at if to_state in TERMINAL_STATES else None,
    }
    statement = update(_jobs).where(
        _jobs.c.id == job.id, _jobs.c.state == job.state, _jobs.c.epoch == job.epoch
    )
    done = await connection.execute(statement.values(**changes))
    if done.rowcount != 1:
        raise _lost(job, to_state)
    data = {"from": job.state, "state": to_state, "epoch": epoch}
    data |= {"waiting_reason": waiting_reason, "error": changes["error"]}
    if to_state in TERMINAL_STATES:
        await prune_progress(connection, job.id)
    await append_event(connection, job.id, "state", data, at)
    return await lock_job(connection, job.id)


def _lost(job: JobRecord, to_state: str, epoch: int | None = None) -> IllegalTransitionError:
    tried = "" if epoch is None else f" under epoch {epoch}"
    return IllegalTransitionError(
        f"job {job.id} cannot become {to_state}{tried}: it is {job.state} and its epoch is "
        f"{job.epoch}; somebody else holds it, let it go",
        job=job.id,
        state=job.state,
        to_state=to_state,
        epoch=job.epoch,
    )


class Lifecycle(Facet):
    """The transitions of a catalog's jobs."""

    @uninterrupted
    async def transition(
        self,
        job_id: str,
        to_state: str,
        *,
        epoch: int | None,
        from_states: Collection[str] | None = None,
        waiting_reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        engine: str | None = None,
    ) -> JobRecord:
        """Move a job to another state if it is still where the caller thinks it is.

        Parameters
        ----------
        job_id : str
            Id.
        to_state : str
            One that may follow, see :data:`gramserve.catalog.transitions.TRANSITIONS`; except
            ``planning``, which only a claim begins.
        epoch : int or None
            The caller's; a dispatcher passes the one it claimed the job with, so that a
            dispatcher that was replaced is refused. None, for people, is not compared.
        from_states : collection of str, optional
            Further limits where the job may be now.
        waiting_reason : str, optional
            Why nothing is computed now; None takes the present reason away.
        error : mapping, optional
            ``{"code": ..., "message": ...}`` of a job that fails.
        engine : str, optional
            The engine that runs it, once planned.

        Returns
        -------
        JobRecord
            After the move; its epoch is a new one when it is queued again.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        IllegalTransitionError
            When the state does not allow it or the epoch is over; names both states.
        """
        async with self._database.write() as connection:
            job = await lock_job(connection, job_id)
            check_transition(job_id, job.state, to_state)
            if to_state == "planning":
                raise IllegalTransitionError(
                    f"job {job_id} is {job.state} and becomes planning only when it is claimed; "
                    "use claim_next, which takes the lease",
                    job=job_id,
                    state=job.state,
                    to_state=to_state,
                )
            wrong_state = from_states is not None and job.state not in from_states
            if wrong_state or epoch not in {None, job.epoch}:
                raise _lost(job, to_state, epoch)
            job = await move_job(
                connection,
                job,
                to_state,
                at=utc_now(),
                waiting_reason=waiting_reason,
                error=error,
                engine=engine,
            )
        self._bell.ring(job_id)
        return job

    @uninterrupted
    async def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel a job: at once when nobody holds it, else as soon as its holder lets go.

        Cancelling twice is no error. Blocks that are stored stay.

        Returns
        -------
        JobRecord
            ``cancelled`` or ``cancelling``.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        IllegalTransitionError
            When it has succeeded or failed already.
        """
        async with self._database.write() as connection:
            job = await lock_job(connection, job_id)
            if job.state in {"cancelling", "cancelled"}:
                return job
            to_state = "cancelling" if job.state in HELD_STATES else "cancelled"
            job = await move_job(connection, job, to_state, at=utc_now())
        self._bell.ring(job_id)
        return job

    async def pause_job(self, job_id: str) -> JobRecord:
        """Pause a job until it is resumed; blocks in flight are still stored.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        IllegalTransitionError
            When it is paused, being cancelled or finished.
        """
        reason = "paused by request; resume it to go on"
        return await self.transition(job_id, "paused", epoch=None, waiting_reason=reason)

    async def resume_job(self, job_id: str) -> JobRecord:
        """Put a paused job back into the queue.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        IllegalTransitionError
            When it is not paused.
        """
        return await self.transition(job_id, "queued", epoch=None, from_states={"paused"})

    @uninterrupted
    async def explain_wait(
        self, job_id: str, waiting_reason: str | None, *, epoch: int | None = None
    ) -> bool:
        """Say why nothing is computed for a job, without moving it.

        Parameters
        ----------
        job_id : str
            Id.
        waiting_reason : str or None
            For people; None when it waits no longer.
        epoch : int, optional
            The caller's, compared when given.

        Returns
        -------
        bool
            Whether this was news; False for a finished job and for a stale epoch.

        Raises
        ------
        JobNotFoundError
            When there is none of this id.
        """
        async with self._database.write() as connection:
            job = await lock_job(connection, job_id)
            if (
                job.waiting_reason == waiting_reason
                or job.state in TERMINAL_STATES
                or epoch not in {None, job.epoch}
            ):
                return False
            await connection.execute(
                update(_jobs).where(_jobs.c.id == job_id).values(waiting_reason=waiting_reason)
            )
            data = {"from": job.state, "state": job.state, "epoch": job.epoch}
            data |= {"waiting_reason": waiting_reason, "error": None}
            await append_event(connection, job_id, "state", data, utc_now())
        self._bell.ring(job_id)
        return True
