"""`gramserve` with a table of faults in the way of its blocks, and with little patience."""

from functools import partial

from fault_table import FaultyBlockTask

from gramserve.blocks import Policy, Scheduler, scheduler
from gramserve.cli.app import main
from gramserve.service import job_run

POLICY = Policy(
    backoff_s=0.05, outage_wait_s=0.3, target_task_s=0.2, max_group=2, window_per_slot=2
)


def window(slots):
    """Return how many blocks are out at most: what a kill may cost."""
    return slots * POLICY.window_per_slot * POLICY.max_group


if __name__ == "__main__":
    scheduler.BlockTask = FaultyBlockTask
    job_run.Scheduler = partial(Scheduler, policy=POLICY)
    main()
