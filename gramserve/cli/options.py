"""Options that several commands share, and what they are read into."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gramserve.errors import SpecError

if TYPE_CHECKING:
    from gramserve.client import Client
    from gramserve.config import Settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Write data as JSON on standard output.")]

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="GRAMSERVE_URL", help="Address of the server."),
]

KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="GRAMSERVE_API_KEY", show_envvar=True, help="Bearer key of the server."
    ),
]

KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel", "-k", help="Name of a preset, a JSON file with a kernel spec, or the JSON."
    ),
]

PrecisionOption = Annotated[
    Literal["float32", "mixed", "float64"],
    typer.Option("--precision", help="How the numbers are computed and stored."),
]

RecipeOption = Annotated[
    str,
    typer.Option("--recipe", "-r", help="Name of a recipe, a JSON file with one, or the JSON."),
]

ResultDtypeOption = Annotated[
    Literal["float32", "float64"], typer.Option("--dtype", help="Of the result.")
]

BlockSizeOption = Annotated[
    int | None,
    typer.Option("--block-size", help="Rows and columns of a block; chosen when not given."),
]

EngineOption = Annotated[
    Literal["auto", "reference", "cpu", "cuda"],
    typer.Option("--engine", help="What computes blocks; auto takes the fastest that can."),
]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Worker processes; the usable cores when not given, 0 computes in this process.",
    ),
]

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="State directory of the server (GRAMSERVE_DATA_DIR)."),
]

CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="State directory of a server: blocks that it holds are taken over, not computed.",
    ),
]

ImagesArgument = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES.npy",
        exists=True,
        dir_okay=False,
        help="Items: (n, H, W, C) images or (n, D) vectors, as saved by np.save.",
    ),
]

OtherOption = Annotated[
    Path | None,
    typer.Option(
        "--other",
        metavar="OTHER.npy",
        exists=True,
        dir_okay=False,
        help="Items of the columns; the symmetric matrix when not given.",
    ),
]


def read_kernel(text: str) -> str | dict[str, Any]:
    """Return the kernel that ``--kernel`` names.

    Parameters
    ----------
    text : str
        Name of a preset, path of a JSON file, or JSON.

    Returns
    -------
    str or dict
        What :func:`gramserve.parse_kernel` reads.

    Raises
    ------
    SpecError
        When a file does not exist or is not JSON.
    """
    return read_spec(text, "--kernel", "kernel")


def read_spec(text: str, option: str, noun: str) -> str | dict[str, Any]:
    """Return what an option names: a kernel, or a recipe.

    Parameters
    ----------
    text : str
        A name, path of a JSON file, or JSON.
    option, noun : str
        What the option and the thing are called, for messages.

    Returns
    -------
    str or dict
        Not looked into.

    Raises
    ------
    SpecError
        When a file does not exist or is not JSON.
    """
    name, content = option, text
    if not text.lstrip().startswith("{"):
        path = Path(text)
        if path.suffix != ".json" and not path.is_file():
            return text
        name = text
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the {noun} file {text} cannot be read: {error}"
            raise SpecError(msg) from None
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        msg = f"{name} is not JSON (line {error.lineno}, column {error.colno}): {error.msg}"
        raise SpecError(msg) from None
    if not isinstance(value, str | dict):
        msg = f"{name} holds a {type(value).__name__}; a {noun} is a JSON object or the name of one"
        raise SpecError(msg)
    return value


def read_settings(**given: Any) -> "Settings":
    """Return the settings of the environment with the options of the command line over them.

    Parameters
    ----------
    **given
        Fields of :class:`gramserve.config.Settings`; those that are None are left alone.

    Returns
    -------
    Settings
        Validated.

    Raises
    ------
    SpecError
        With every setting that is wrong.
    """
    from pydantic import ValidationError

    from gramserve.config import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = [
            {"loc": f"GRAMSERVE_{str(fault['loc'][0]).upper()}", "message": fault["msg"]}
            for fault in error.errors(include_url=False)
        ]
        lines = "; ".join(f"{fault['loc']}: {fault['message']}" for fault in faults)
        msg = f"the settings cannot be used: {lines}"
        raise SpecError(msg, errors=faults) from None


def connected(url: str | None, api_key: str | None) -> "Client":
    """Return a client of the server that the options name.

    Parameters
    ----------
    url, api_key : str or None
        Of ``--url`` and ``--api-key``.

    Returns
    -------
    Client
        To be closed.
    """
    from stamina.instrumentation import set_on_retry_hooks

    from gramserve.client import connect

    # Its default hook writes on standard output, which belongs to the data.
    set_on_retry_hooks([])
    return connect(url, api_key=api_key)
