"""`gramserve grams`: the Gram matrices of a server."""

from typing import Annotated

import typer

from gramserve.cli.exits import INCOMPLETE, STORAGE
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


@app.command()
def report(
    gram_id: Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")],
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what the numbers are, who made them and how to make them again.

    Symmetry, diagonal, smallest eigenvalue, makers, versions, and the request.
    """
    with connected(url, api_key) as client:
        card = client.gram(gram_id).report_card()
    Terminal(as_json).data(card, repr(card))


@app.command()
def audit(
    gram_id: Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")],
    every: Annotated[
        int, typer.Option("--every", min=1, help="Every how many blocks one is computed again.")
    ] = 100,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have some blocks computed again in float64, and compare.

    Ends with exit code 8 when they differ by more than the precision allows.
    """
    from gramserve.client.provenance import audit_text

    with connected(url, api_key) as client:
        found = client.gram(gram_id).audit(every)
    Terminal(as_json).data(found, "\n".join([audit_text(found), *found.errors]))
    if found.passed is False:
        raise typer.Exit(STORAGE)
    if found.passed is None:
        raise typer.Exit(INCOMPLETE)


@app.command()
def blocks(
    gram_id: Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")],
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List how every block came about."""
    with connected(url, api_key) as client:
        found = client.gram(gram_id).blocks()
    rows = [
        (
            f"{one.block[0]}, {one.block[1]}",
            one.state,
            one.engine,
            one.device,
            one.code_version,
            None if one.seconds is None else f"{one.seconds:.3g}",
            one.worker,
            None if one.adopted_from is None else one.adopted_from.get("gram"),
        )
        for one in found
    ]
    columns = ("block", "state", "engine", "device", "code", "seconds", "worker", "taken from")
    Terminal(as_json).data(found, table(columns, rows))
