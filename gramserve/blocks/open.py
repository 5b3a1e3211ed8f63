"""Which executor: the loop, worker processes of this machine, or a Dask cluster."""

from gramserve.blocks.executor import Executor, LoopExecutor


def open_executor(address: str | None = None, *, workers: int = 1, threads: int = 1) -> Executor:
    """Return an executor; processes start on first use.

    Parameters
    ----------
    address : str, optional
        Address of a Dask scheduler, ``tcp://host:8786``.
    workers : int
        Worker processes on this machine when there is no address; 0 runs tasks in the calling
        thread.
    threads : int
        Threads of each worker process.

    Returns
    -------
    Executor
        To be closed.
    """
    if address is None and workers == 0:
        return LoopExecutor()
    # Dask takes a second to import; the loop does without.
    from gramserve.blocks.cluster import DaskExecutor  # noqa: PLC0415

    return DaskExecutor(address, workers=workers, threads=threads)
