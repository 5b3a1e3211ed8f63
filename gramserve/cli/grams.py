"""`gramserve grams`: the Gram matrices of a server."""

from typing import Annotated

import typer

from gramserve.cli.options import JsonFlag, KeyOption, UrlOption, connected
from gramserve.cli.terminal import Terminal, table

app = typer.Typer(help="Gram matrices of a server.", no_args_is_help=True)


@app.command("list")
def list_grams(url: UrlOption = None, api_key: KeyOption = None, as_json: JsonFlag = False) -> None:
    """List the Gram matrices."""
    with connected(url, api_key) as client:
        found = client.grams()
    rows = [
        (
            gram.id,
            f"{gram.shape[0]} x {gram.shape[1]}",
            gram.kernel,
            gram.report.precision,
            f"{gram.report.blocks.done}/{gram.report.blocks.total}",
        )
        for gram in found
    ]
    columns = ("id", "shape", "kernel", "precision", "blocks")
    text = table(columns, rows) if rows else "no Gram matrices"
    Terminal(as_json).data([gram.report for gram in found], text)


@app.command()
def show(
    gram_id: Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")],
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Describe a Gram matrix and how complete it is."""
    with connected(url, api_key) as client:
        gram = client.gram(gram_id)
        Terminal(as_json).data(gram.report, repr(gram))
