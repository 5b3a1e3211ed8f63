"""`gramserve` with a table of faults in the way of its blocks, and with little patience."""

SLOTS_AHEAD, GROUP = 2, 2


def window(slots):
    """Return how many blocks are out at most: what a kill may cost."""
    return slots * SLOTS_AHEAD * GROUP


def main():
    """Run the command line."""
    # Here, because the workers that this process spawns read the module as well.
    from functools import partial

    from fault_table import FaultyBlockTask

    from gramserve.blocks import Policy, Scheduler, scheduler
    from gramserve.cli import app
    from gramserve.service import job_run

    policy = Policy(
        backoff_s=0.05,
        outage_wait_s=0.3,
        target_task_s=0.2,
        max_group=GROUP,
        window_per_slot=SLOTS_AHEAD,
    )
    scheduler.BlockTask = FaultyBlockTask
    job_run.Scheduler = partial(Scheduler, policy=policy)
    app(prog_name="gramserve")


if __name__ == "__main__":
    main()
