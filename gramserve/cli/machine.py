"""Commands about this machine: engines, version, demo."""

from pathlib import Path
from typing import Annotated

import typer

from gramserve.cli.options import JsonFlag
from gramserve.cli.terminal import Terminal, table


def engines(
    as_json: JsonFlag = False,
    warm: Annotated[
        bool,
        typer.Option("--warm", help="Compile what the engines run first, so that no job waits."),
    ] = False,
) -> None:
    """Say which engines this machine can run, and why not the others."""
    from gramserve.kernels import describe_engines, warm_engines

    terminal = Terminal(as_json)
    if warm:
        for name, seconds in warm_engines().items():
            terminal.say(f"{name}: ready after {seconds:.1f} s")
    found = describe_engines()
    rows = [
        (engine["name"], "yes" if engine["available"] else "no", engine["device"], engine["why"])
        for engine in found
    ]
    terminal.data(found, table(("engine", "available", "device", "why"), rows))


def version(as_json: JsonFlag = False) -> None:
    """Print the version of gramserve and of the formats it reads."""
    import platform

    from gramserve import __version__
    from gramserve.spec import FORMAT, KERNEL_CODE_VERSION

    facts = {
        "gramserve": __version__,
        "python": platform.python_version(),
        "kernel_format": FORMAT,
        "kernel_code": KERNEL_CODE_VERSION,
    }
    Terminal(as_json).data(facts, f"gramserve {__version__}")


def demo(
    output: Annotated[
        Path, typer.Option("--out", help="Directory for the picture and the state.")
    ] = Path("demo-output"),
) -> None:
    """Run the whole path on a few hundred images: server, upload, plan, job, rows, regression."""
    from gramserve.demo import run

    run(output)
