"""`gramserve keys`: who may use a server, written straight into its catalog."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramserve.cli.options import DataDirOption, JsonFlag, read_settings
from gramserve.cli.terminal import Terminal, table
from gramserve.errors import StoreNotFoundError

if TYPE_CHECKING:
    from gramserve.catalog import Catalog, KeyRecord

app = typer.Typer(
    help="API keys of a server, in its state directory or database (GRAMSERVE_DATABASE_URL).",
    no_args_is_help=True,
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, for people.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="read, submit or admin, each includes the ones before it. [default: submit]",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Days until it ends; never when not given")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key and print its secret, which is shown only now."""
    terminal = Terminal(as_json)
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    record, secret = _in_catalog(
        lambda catalog: catalog.create_key(name, scope or ["submit"], expires), data_dir
    )
    terminal.say(f"key {record.id} of {record.name}; keep the secret, it is shown only now")
    terminal.data({**_facts(record), "secret": secret}, secret)


@app.command("list")
def list_keys(data_dir: DataDirOption = None, as_json: JsonFlag = False) -> None:
    """List the keys, also those that are over or revoked."""
    found = _in_catalog(lambda catalog: catalog.keys(), data_dir, must_exist=True)
    rows = [
        (
            key.id,
            key.name,
            f"{key.prefix}...",
            " ".join(key.scopes),
            _state(key),
            "never" if key.last_used is None else f"{key.last_used:%Y-%m-%d %H:%M}",
        )
        for key in found
    ]
    columns = ("id", "name", "secret", "scopes", "state", "last used")
    text = table(columns, rows) if rows else "no keys"
    Terminal(as_json).data([_facts(key) for key in found], text)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id as `list` shows it.")],
    data_dir: DataDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """End a key for good; a running server notices within seconds."""
    record = _in_catalog(lambda catalog: catalog.revoke_key(key), data_dir, must_exist=True)
    Terminal(as_json).data(_facts(record), f"revoked key {record.id} of {record.name}")


def _in_catalog[T](
    ask: Callable[["Catalog"], Awaitable[T]], data_dir: Path | None, *, must_exist: bool = False
) -> T:
    from gramserve.catalog import Catalog

    settings = read_settings(data_dir=data_dir)
    file = settings.data_dir / "catalog.sqlite"
    if must_exist and settings.database_url is None and not file.exists():
        msg = (
            f"there is no catalog in {settings.data_dir}; name the server's state directory with "
            "--data-dir or GRAMSERVE_DATA_DIR"
        )
        raise StoreNotFoundError(msg, path=str(file))

    async def run() -> T:
        async with await Catalog.open(settings.catalog_place) as catalog:
            return await ask(catalog)

    return asyncio.run(run())


def _facts(key: "KeyRecord") -> dict[str, Any]:
    def moment(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "state": _state(key),
        "created": moment(key.created),
        "expires": moment(key.expires),
        "last_used": moment(key.last_used),
        "revoked": moment(key.revoked),
    }


def _state(key: "KeyRecord") -> str:
    if key.revoked is not None:
        return "revoked"
    is_over = key.expires is not None and key.expires <= datetime.now(UTC)
    return "over" if is_over else "valid"
