"""`gramserve datasets`: the data sets of a server."""

from typing import TYPE_CHECKING, Annotated

import typer

from gramserve.cli.options import (
    ImagesArgument,
    JsonFlag,
    KeyOption,
    RecipeOption,
    ResultDtypeOption,
    UrlOption,
    connected,
    read_spec,
)
from gramserve.cli.terminal import Terminal, table

if TYPE_CHECKING:
    from gramserve.spec.status import DatasetInfo

app = typer.Typer(help="Data sets of a server.", no_args_is_help=True)

DigestArgument = Annotated[
    str, typer.Argument(metavar="DIGEST", help="64 hexadecimal digits, as `list` shows them.")
]


@app.command("list")
def list_datasets(
    url: UrlOption = None, api_key: KeyOption = None, as_json: JsonFlag = False
) -> None:
    """List the data sets."""
    with connected(url, api_key) as client:
        found = [dataset.info for dataset in client.datasets.list()]
    Terminal(as_json).data(found, _table(found) if found else "no data sets")


@app.command()
def upload(
    images: ImagesArgument,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload items; prints their digest."""
    terminal = Terminal(as_json)
    with connected(url, api_key) as client:
        show = None if terminal.shows_progress else False
        dataset = client.datasets.upload(images, name, progress=show)
        terminal.data(dataset.info, dataset.digest)


@app.command()
def preprocess(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data set's digest, or IMAGES.npy to upload.")
    ],
    recipe: RecipeOption,
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="Digest or .npy of the items to fit on; DATA when not given."),
    ] = None,
    dtype: ResultDtypeOption = "float32",
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a data set from another; prints its digest."""
    with connected(url, api_key) as client:
        dataset = client.datasets.preprocess(
            data, read_spec(recipe, "--recipe", "recipe"), fit=fit, dtype=dtype, name=name
        )
        Terminal(as_json).data(dataset.info, dataset.digest)


@app.command()
def show(
    digest: DigestArgument,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Describe a data set."""
    with connected(url, api_key) as client:
        dataset = client.datasets.get(digest)
        Terminal(as_json).data(dataset.info, repr(dataset))


@app.command()
def delete(
    digest: DigestArgument,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Delete a data set that no Gram matrix and no other data set is built on."""
    with connected(url, api_key) as client:
        client.datasets.delete(digest)
    Terminal(as_json).data({"deleted": digest}, f"deleted {digest}")


def _table(found: "list[DatasetInfo]") -> str:
    from gramserve.client.cards import size_text

    rows = [
        (
            info.digest,
            " x ".join(str(length) for length in info.shape),
            info.dtype,
            size_text(info.bytes),
            info.name,
        )
        for info in found
    ]
    return table(("digest", "shape", "dtype", "size", "name"), rows)
