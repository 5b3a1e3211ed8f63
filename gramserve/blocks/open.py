"""Which executor: the loop, worker processes of this machine, or a Dask cluster."""

from gramserve.blocks.executor import Executor, LoopExecutor


def open_executor(
    address: str | None = None, *, workers: int = 1, threads: int = 1, engine: str = "cpu"
) -> Executor:
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
    engine : str
        The engine asked for. Where it is "cuda", or "auto" and there are cards, the workers on
        this machine are one for each card, of one thread, however many were asked for.

    Returns
    -------
    Executor
        To be closed.
    """
    if address is None and workers == 0:
        return LoopExecutor()
    # Dask takes a second to import; the loop does without.
    from gramserve.blocks.card_workers import cards_for  # noqa: PLC0415
    from gramserve.blocks.cluster import DaskExecutor  # noqa: PLC0415

    cards = cards_for(engine) if address is None else ()
    return DaskExecutor(address, workers=workers, threads=threads, cards=cards)
