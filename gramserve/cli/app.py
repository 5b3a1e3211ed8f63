"""The tree of commands."""

from typing import Annotated

import typer

from gramserve.cli import (
    cache,
    compute,
    datasets,
    grams,
    jobs,
    keys,
    machine,
    plan,
    preprocess,
    serve,
)
from gramserve.cli.exits import epilog
from gramserve.cli.group import OutermostGroup

app = typer.Typer(
    name="gramserve",
    cls=OutermostGroup,
    help="Exact Gram matrices of convolutional neural kernels.",
    epilog=epilog(),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def gramserve(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")
    ] = False,
) -> None:
    """Exact Gram matrices of convolutional neural kernels."""
    del debug  # OutermostGroup has read it before the commands are looked at


app.command()(compute.compute)
app.command()(plan.plan)
app.command()(preprocess.preprocess)
app.command()(serve.serve)
app.command()(jobs.submit)
app.command()(jobs.status)
app.command()(jobs.rows)
app.command()(jobs.cancel)
app.add_typer(datasets.app, name="datasets")
app.add_typer(grams.app, name="grams")
app.add_typer(keys.app, name="keys")
app.add_typer(cache.app, name="cache")
app.command()(machine.engines)
app.command()(machine.demo)
app.command()(machine.version)


def main() -> None:
    """Run the command line of this process."""
    app(prog_name="gramserve")
