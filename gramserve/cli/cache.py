"""`gramserve cache`: what is stored, whether it is intact, what stays and what goes."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramserve.cli.exits import INCOMPLETE, STORAGE
from gramserve.cli.options import JsonFlag, KeyOption, UrlOption, connected
from gramserve.cli.terminal import Terminal, table
from gramserve.errors import SpecError, StoreNotFoundError

if TYPE_CHECKING:
    from gramserve.client import Client
    from gramserve.spec.cache_reports import CacheReport, VerificationReport

app = typer.Typer(help="What is stored, and what of it stays.", no_args_is_help=True)

GramArgument = Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")]
FilesOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Look at the files of a state directory instead."),
]
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_LOOK_S = 0.3


@app.command()
def ls(
    data_dir: FilesOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what a server stores: by matrix, kernel and user; or what lies in a state directory.

    Files that several matrices share are counted once in totals.
    """
    terminal = Terminal(as_json)
    if data_dir is not None:
        _list_directory(data_dir, terminal)
        return
    with connected(url, api_key) as client:
        report = client.cache.report()
        datasets = [
            {"kind": "dataset", "id": dataset.digest, "bytes": dataset.nbytes}
            for dataset in client.datasets.list()
        ]
    body = report.model_dump(mode="json")
    entries = datasets + [{"kind": "gram", **entry} for entry in body["entries"]]
    terminal.data({**body, "entries": entries}, _cache_text(report, datasets))


def _cache_text(report: "CacheReport", datasets: list[dict[str, Any]]) -> str:
    from gramserve.client.cards import size_text

    grams = [
        (
            entry.id,
            f"{entry.shape[0]} x {entry.shape[1]}",
            f"{entry.kernel} {entry.precision}",
            size_text(entry.bytes),
            f"{entry.last_used:%Y-%m-%d %H:%M}" if entry.last_used else None,
            entry.rows_served,
            ", ".join(entry.users) or None,
            entry.in_use,
        )
        for entry in report.entries
    ]
    columns = ("gram", "shape", "kernel", "size", "last used", "rows", "asked by", "stays because")
    kernels = [
        (use.kernel, use.precision, (use.address or "-")[:12], use.grams, size_text(use.bytes))
        for use in report.kernels
    ]
    users = [
        (
            use.name,
            use.grams,
            size_text(use.bytes),
            use.jobs,
            f"{use.blocks_reused} of {use.blocks_asked}",
        )
        for use in report.users
    ]
    held = [(one["id"], size_text(one["bytes"])) for one in datasets]
    rate = "-" if report.hit_rate is None else f"{100 * report.hit_rate:.1f} %"
    return "\n\n".join(
        [
            table(columns, grams),
            table(("kernel", "precision", "address", "matrices", "size"), kernels),
            table(("user", "matrices", "size", "jobs", "blocks reused"), users),
            table(("data set", "size"), held),
            f"matrices {size_text(report.bytes)}, free {size_text(report.free_bytes)}; hit rate "
            f"{rate} ({report.blocks_reused} of {report.blocks_asked} blocks)",
        ]
    )


def _list_directory(data_dir: Path, terminal: Terminal) -> None:
    from gramserve.client.cards import size_text
    from gramserve.store import measure, occupied_bytes

    layout = _layout(data_dir)
    places = {
        "dataset": layout.datasets,
        "gram": layout.grams,
        "transform": layout.transforms,
        "variances": layout.variances,
        "upload": layout.uploads,
    }
    uses = [
        (kind, entry.name, measure(entry))
        for kind, place in places.items()
        if place.is_dir()
        for entry in sorted(place.iterdir())
    ]
    found = [{"kind": kind, "id": name, "bytes": use.bytes} for kind, name, use in uses]
    total = occupied_bytes(use for _, _, use in uses)
    rows = [(entry["kind"], entry["id"], size_text(entry["bytes"])) for entry in found]
    rows.append(("total", "", size_text(total)))
    terminal.data({"entries": found, "bytes": total}, table(("kind", "id", "size"), rows))


def _layout(data_dir: Path) -> Any:
    from gramserve.store import StateLayout

    layout = StateLayout(data_dir)
    if not layout.root.is_dir():
        msg = f"there is no state directory {layout.root}"
        raise StoreNotFoundError(msg, path=str(layout.root))
    return layout


@app.command()
def verify(
    gram_id: Annotated[
        str | None, typer.Argument(metavar="[GRAM]", help="Only this matrix; all when not given.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Only report damaged blocks, do not remove them.")
    ] = False,
    max_age: Annotated[
        float | None,
        typer.Option(
            "--max-age", min=0, metavar="HOURS", help="Leave out what was verified since then."
        ),
    ] = None,
    data_dir: FilesOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every stored byte, at a server or in a state directory; drops damaged blocks.

    What was dropped is computed again when it is asked for. Ends with exit code 8 when there was
    damage. Interrupted, it goes on with --max-age; Ctrl-C stops it at the server too.
    """
    terminal = Terminal(as_json)
    if data_dir is not None:
        _verify_directory(data_dir, gram_id, not keep, terminal)
        return
    with connected(url, api_key) as client:
        client.cache.verify(
            gram_id, drop=not keep, max_age_s=None if max_age is None else 3600 * max_age
        )
        report = _follow(client, terminal)
    terminal.data(report, f"{report.state}: {_verified_text(report)}")
    if report.blocks_damaged:
        first = report.damaged[0]
        msg = f"{report.blocks_damaged} blocks are damaged, the first in {first.gram}"
        terminal.say(f"{msg}: {first.error}")
        raise typer.Exit(STORAGE)
    if report.state != "done":
        raise typer.Exit(INCOMPLETE)


def _follow(client: "Client", terminal: Terminal) -> "VerificationReport":
    shown = 0
    try:
        while (report := client.cache.verification()).state == "running":
            if terminal.shows_progress and report.grams_done > shown:
                shown = report.grams_done
                terminal.say(_verified_text(report))
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return client.cache.stop_verification()
    return report


def _verified_text(report: "VerificationReport") -> str:
    return (
        f"{report.grams_done} of {report.grams_total} matrices, {report.blocks_checked} blocks "
        f"checked, {report.blocks_damaged} damaged"
    )


def _verify_directory(data_dir: Path, gram_id: str | None, drop: bool, terminal: Terminal) -> None:
    from gramserve.store import GramStore, verify_blocks

    layout = _layout(data_dir)
    grams = layout.gram_ids() if gram_id is None else [gram_id]
    checked = 0
    damaged: list[dict[str, Any]] = []
    for gram in grams:
        for found in verify_blocks(GramStore.open(layout.gram(gram)), drop=drop):
            checked += 1
            if found.damage is not None:
                damaged.append({"gram": gram, "block": list(found.block), "error": found.damage})
    answer = {"grams": len(grams), "blocks_checked": checked, "damaged": damaged, "dropped": drop}
    text = f"{len(grams)} matrices, {checked} blocks checked, {len(damaged)} damaged"
    terminal.data(answer, "\n".join([text, *(str(one["error"]) for one in damaged)]))
    if damaged:
        raise typer.Exit(STORAGE)


@app.command()
def pin(
    gram_id: GramArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="For whoever wonders.")] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep a matrix from being evicted, in the name of the key."""
    with connected(url, api_key) as client:
        pins = client.gram(gram_id).pin(reason)
    Terminal(as_json).data(pins, f"pinned by {', '.join(one.name for one in pins)}")


@app.command()
def unpin(
    gram_id: GramArgument,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="The pins of others too; needs an admin key.")
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a pin back."""
    with connected(url, api_key) as client:
        pins = client.gram(gram_id).unpin(everybody=everybody)
    left = f"still pinned by {', '.join(one.name for one in pins)}" if pins else "not pinned"
    Terminal(as_json).data(pins, left)


@app.command()
def gc(
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", help="What matrices may occupy, like 200G.")
    ] = None,
    free_bytes: Annotated[
        str | None, typer.Option("--free-bytes", help="What must be free on the disk, like 50G.")
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Do it; without, only say what would go.")
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Evict the matrices used least recently; a dry run unless told otherwise.

    Never those that are pinned, needed by unfinished jobs, or used within the last minute.
    """
    from gramserve.client.cards import size_text

    if max_bytes is None and free_bytes is None:
        msg = "give --max-bytes or --free-bytes"
        raise typer.BadParameter(msg)
    with connected(url, api_key) as client:
        report = client.cache.evict(
            max_bytes=None if max_bytes is None else read_bytes(max_bytes),
            free_bytes=None if free_bytes is None else read_bytes(free_bytes),
            execute=execute,
        )
    word = "evicted" if execute else "would evict"
    lines = [f"{word} {one.id}  {size_text(one.bytes)}" for one in report.evicted]
    lines += [f"keeps {one.id}: {one.why}" for one in report.kept]
    lines.append(
        f"{size_text(report.bytes_before)} -> {size_text(report.bytes_after)}, "
        f"{'enough' if report.reached else 'NOT ENOUGH'} for {size_text(report.goal_bytes)}"
    )
    Terminal(as_json).data(report, "\n".join(lines))
    if not report.reached:
        raise typer.Exit(INCOMPLETE)


def read_bytes(text: str) -> int:
    """Return a number of bytes that may have a unit.

    Parameters
    ----------
    text : str
        Like ``"500"``, ``"1.5G"`` or ``"20 GiB"``; units are powers of 1024.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    SpecError
        When it is none.

    Examples
    --------
    >>> read_bytes("500"), read_bytes("1.5k"), read_bytes("2 GiB")
    (500, 1536, 2147483648)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        msg = f"{text!r} is no number of bytes; write for example 200G"
        raise SpecError(msg, errors=[{"loc": "bytes", "message": msg}])
    return int(float(match[1]) * _UNITS[match[2]])
