"""The demo itself, step by step."""

import importlib.util
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from gramserve.client import connect
from gramserve.demo.images import load_digits
from gramserve.demo.picture import save_picture
from gramserve.demo.regression import score_ridge
from gramserve.demo.server import running_server
from gramserve.errors import EngineUnavailableError

_BLOCK = 50
_KERNEL = "myrtle5"


def run(output: Path) -> None:
    """Run everything once, on 500 real images, and say what happens.

    Parameters
    ----------
    output : Path
        Directory for the state, the server's log and the picture; made when missing. Running
        again reuses the blocks that are stored there.

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
    say = Console(stderr=True, highlight=False).print
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    say(f"[bold]gramserve demo[/]: {len(digits.train)} training and {len(digits.test)} test images")
    say("starting a server (http, scheduler and workers in one process tree) ...")
    with (
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
        rows = gram.evaluate(digits.test)
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
        f"[bold]test accuracy {score.accuracy:.1%}[/] ({score.correct} of {score.total}); "
        f"a linear kernel reaches {linear.accuracy:.1%}"
    )
    say(f"picture of the Gram matrix: {picture}")
    say(f"done in {time.perf_counter() - began:.0f} s; everything is in {output}")
    say("next: docs/quickstart.md, or gramserve --help")
