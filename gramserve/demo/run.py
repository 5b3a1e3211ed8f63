"""The demo itself, step by step."""

import importlib.util
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from gramserve.client import connect
from gramserve.demo.images import Digits, load_digits
from gramserve.demo.picture import save_picture
from gramserve.demo.regression import score_ridge
from gramserve.demo.server import running_server
from gramserve.errors import EngineUnavailableError

_BLOCK = 50
_AT_ONCE = 40
_KERNEL = "myrtle5"


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demo as Ctrl-C does, with its server."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(output: Path, digits: Digits | None = None) -> None:
    """Run everything once, on 500 real images, and say what happens.

    Parameters
    ----------
    output : Path
        Directory for the state, the server's log and the picture; made when missing. Running
        again reuses the blocks that are stored there.
    digits : Digits, optional
        Other images, for example fewer; those that the package carries when not given.

    Raises
    ------
    EngineUnavailableError
        When the extra ``demo`` is not installed.
    """
    missing = [name for name in ("sklearn", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        msg = f"the demo needs {' and '.join(missing)}: pip install 'gramserve[demo]'"
        raise EngineUnavailableError(msg)
    began = time.perf_counter()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    say = console.print
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    digits = digits or load_digits()
    say(f"[bold]gramserve demo[/]: {len(digits.train)} training and {len(digits.test)} test images")
    say("starting a server (http, scheduler and workers in one process tree) ...")
    with (
        _termination_as_interrupt(),
        running_server(output / "state") as (url, key),
        connect(url, api_key=key) as client,
    ):
        say(f"  it answers at {url}")
        data = client.datasets.upload(digits.train, name="digits")
        say(f"uploaded {data.shape} {data.dtype} as {data.digest[:12]}")
        plan = client.plan(data, kernel=_KERNEL, block_size=_BLOCK)
        say(
            f"plan: {plan.blocks.total} blocks, {plan.blocks.cached} stored already, "
            f"about {plan.seconds_estimate:.0f} s on this machine ({plan.engine} engine)"
        )
        job = client.submit(data, kernel=_KERNEL, block_size=_BLOCK)
        job.wait()
        report = job.report
        gram = client.gram(str(report.gram))
        say(
            f"job {job.id} {report.state}: {report.blocks.done} blocks, of which "
            f"{report.blocks.reused} were reused"
        )
        matrix = np.asarray(gram)
        say(f"  row 0 begins {np.array2string(matrix[0, :4], precision=4)}")
        say(f"evaluating rows of {len(digits.test)} new images on the workers ...")
        starts = range(0, len(digits.test), _AT_ONCE)
        rows = np.concatenate(
            [
                gram.evaluate(digits.test[start : start + _AT_ONCE])
                for start in track(starts, "  rows", console=console, show_speed=False)
            ]
        )
    say("server stopped")
    score = score_ridge(matrix, digits.train_labels, rows, digits.test_labels)
    flat, flat_test = (part.reshape(len(part), -1) for part in (digits.train, digits.test))
    linear = score_ridge(flat @ flat.T, digits.train_labels, flat_test @ flat.T, digits.test_labels)
    picture = output / "gram.png"
    save_picture(
        matrix, digits.train_labels, f"{_KERNEL}, {len(matrix)} handwritten digits", picture
    )
    say(
        f"kernel ridge regression on {len(matrix)} images: "
        f"[bold]test accuracy {score.accuracy:.1%}[/] ({score.correct} of {score.total})"
    )
    say(f"  the same with a linear kernel: {linear.accuracy:.1%} ({linear.correct})")
    say(f"picture of the Gram matrix: {picture}")
    say(f"done in {time.perf_counter() - began:.0f} s; everything is in {output}")
    say("next: docs/quickstart.md, or gramserve --help")
