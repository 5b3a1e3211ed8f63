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
from gramserve.demo.baselines import gaussian, linear
from gramserve.demo.images import Images, load_images
from gramserve.demo.picture import save_picture
from gramserve.demo.pixels import standardise, whiten
from gramserve.demo.regression import Score, score_ridge
from gramserve.demo.server import running_server
from gramserve.errors import EngineUnavailableError

_BLOCK = 40
_AT_ONCE = 20
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


def _told(score: Score) -> str:
    return f"{score.accuracy:.1%} ({score.correct} of {score.total})"


def run(output: Path, images: Images | None = None) -> None:
    """Run everything once, on 440 real images, and say what happens.

    Parameters
    ----------
    output : Path
        Directory for the state, the server's log and the picture; made when missing. Running
        again reuses the blocks that are stored there.
    images : Images, optional
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
    images = images or load_images()
    plain = standardise(images.train), standardise(images.test)
    train, test = whiten(*plain)
    say(f"[bold]gramserve demo[/]: {len(train)} training and {len(test)} test images of CIFAR-10")
    say("starting a server (http, scheduler and workers in one process tree) ...")
    with (
        _termination_as_interrupt(),
        running_server(output / "state") as (url, key),
        connect(url, api_key=key) as client,
    ):
        say(f"  it answers at {url}")
        data = client.datasets.upload(train, name="cifar")
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
        say(f"evaluating rows of {len(test)} new images on the workers ...")
        starts = range(0, len(test), _AT_ONCE)
        rows = np.concatenate(
            [
                gram.evaluate(test[start : start + _AT_ONCE])
                for start in track(starts, "  rows", console=console, show_speed=False)
            ]
        )
    say("server stopped")
    score = score_ridge(matrix, images.train_labels, rows, images.test_labels)
    picture = output / "gram.png"
    save_picture(matrix, images.train_labels, f"{_KERNEL}, {len(matrix)} CIFAR-10 images", picture)
    classes = np.unique(images.train_labels)
    say(
        f"kernel ridge regression on {len(matrix)} images of {len(classes)} classes "
        f"({', '.join(classes)}):"
    )
    say(f"  {_KERNEL}: [bold]test accuracy {_told(score)}[/]")
    for name, kernel in (("linear", linear), ("Gaussian", gaussian)):
        # Whitening is for convolutional kernels: kernels of pixels may do without it.
        scores = [
            score_ridge(gram, images.train_labels, new, images.test_labels)
            for pixels in (plain, (train, test))
            for gram, new in kernel(*pixels)
        ]
        best = max(scores, key=lambda score: score.left_out)
        say(f"  {name} kernel of the pixels, tuned likewise: {_told(best)}")
    say(f"picture of the Gram matrix: {picture}")
    say(f"done in {time.perf_counter() - began:.0f} s; everything is in {output}")
    say("next: docs/quickstart.md, or gramserve --help")
