"""Long work beside the event loop."""

import asyncio
import threading
from collections.abc import Callable


async def run_in_daemon[T](call: Callable[[], T], name: str) -> T:
    """Run a function in a thread of its own that does not keep the process alive.

    A pool's threads are joined when the interpreter ends, so that one block in the middle of
    its computation would hold up a server that stops.

    Parameters
    ----------
    call : callable
        What to run.
    name : str
        Of the thread, for people who look at stacks.

    Returns
    -------
    object
        What it returned.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # the waiter went away
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop is closed: the server has stopped without this thread

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
