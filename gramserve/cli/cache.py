"""`gramserve cache`: what is stored and how large it is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gramserve.cli.options import JsonFlag, KeyOption, UrlOption, connected
from gramserve.cli.terminal import Terminal, table
from gramserve.errors import StoreNotFoundError

app = typer.Typer(help="What is stored.", no_args_is_help=True)


@app.callback()
def cache() -> None:
    """Keep `ls` a command of its own: Typer would merge a single one into the group."""


@app.command()
def ls(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Look at the files of a state directory instead."),
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what a server stores, or what lies in a state directory.

    A server tells the size of the numbers; a state directory that of the files.
    """
    from gramserve.client.cards import size_text

    found = _of_server(url, api_key) if data_dir is None else _of_directory(data_dir)
    total = sum(entry["bytes"] for entry in found)
    rows = [(entry["kind"], entry["id"], size_text(entry["bytes"])) for entry in found]
    rows.append(("total", "", size_text(total)))
    answer = {"entries": found, "bytes": total}
    Terminal(as_json).data(answer, table(("kind", "id", "size"), rows))


def _of_server(url: str | None, api_key: str | None) -> list[dict[str, Any]]:
    with connected(url, api_key) as client:
        datasets = [
            {"kind": "dataset", "id": dataset.digest, "bytes": dataset.nbytes}
            for dataset in client.datasets.list()
        ]
        grams = [
            {
                "kind": "gram",
                "id": gram.id,
                "bytes": gram.nbytes * gram.report.blocks.done // max(1, gram.report.blocks.total),
            }
            for gram in client.grams()
        ]
    return datasets + grams


def _of_directory(data_dir: Path) -> list[dict[str, Any]]:
    from gramserve.store import StateLayout

    layout = StateLayout(data_dir)
    if not layout.root.is_dir():
        msg = f"there is no state directory {layout.root}"
        raise StoreNotFoundError(msg, path=str(layout.root))
    places = {
        "dataset": layout.datasets,
        "gram": layout.grams,
        "transform": layout.transforms,
        "variances": layout.variances,
        "upload": layout.uploads,
    }
    return [
        {"kind": kind, "id": entry.name, "bytes": _bytes_under(entry)}
        for kind, place in places.items()
        if place.is_dir()
        for entry in sorted(place.iterdir())
    ]


def _bytes_under(entry: Path) -> int:
    files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
