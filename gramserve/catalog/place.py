"""Where the database lies, and whether it may lie there."""

import asyncio
import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gramserve.errors import CatalogError

# Write-ahead logging shares memory between processes through a mapped file, which these do not
# keep coherent between hosts; their locks are advisory at best.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
    | {"nfs4", "orangefs", "panfs", "smb2", "smb3", "smbfs", "wekafs"}
    | {"fuse.ceph", "fuse.cephfs", "fuse.glusterfs", "fuse.goofys", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs"}
)
_ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_SQLITE_HEADER = b"SQLite format 3\0"
_MOUNTS = Path("/proc/mounts")


def parse_place(place: str | Path) -> URL:
    """Return the SQLAlchemy URL of a database, with an asynchronous driver.

    Parameters
    ----------
    place : str or Path
        A file (made when missing), or a URL ``sqlite:///...`` or ``postgresql://...``.

    Returns
    -------
    sqlalchemy.engine.URL

    Raises
    ------
    CatalogError
        For other databases, and for SQLite in memory, which has no room for two connections.

    Examples
    --------
    >>> str(parse_place("/srv/gramserve/catalog.sqlite"))
    'sqlite+aiosqlite:////srv/gramserve/catalog.sqlite'
    >>> parse_place("postgresql://lab@db/grams").drivername
    'postgresql+asyncpg'
    """
    if isinstance(place, Path) or "://" not in place:
        # str.format of a URL would trip over "?" and "#" in a path.
        return URL.create("sqlite+aiosqlite", database=str(place))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise CatalogError(
            "the catalog's URL cannot be read; write sqlite:////path/to/catalog.sqlite or "
            "postgresql://user:password@host/database"
        ) from error
    driver = _ASYNC_DRIVERS.get(url.drivername, url.drivername)
    if driver not in _ASYNC_DRIVERS.values():
        raise CatalogError(
            f"the catalog does not know the database {url.drivername!r}; "
            "use sqlite:///... or postgresql://..."
        )
    if driver == "sqlite+aiosqlite" and (
        url.query or not url.database or url.database == ":memory:"
    ):
        raise CatalogError(
            "the catalog needs an SQLite file of its own, not a database in memory or URI "
            "options; write sqlite:////path/to/catalog.sqlite"
        )
    return url.set(drivername=driver)


def is_sqlite(url: URL) -> bool:
    """Whether the database is an SQLite file."""
    return url.get_backend_name() == "sqlite"


async def prepare_file(url: URL) -> None:
    """Make the directory of an SQLite file and refuse places where it cannot live.

    Parameters
    ----------
    url : sqlalchemy.engine.URL
        Of an SQLite file.

    Raises
    ------
    CatalogError
        When the directory cannot be made, lies on a network file system, or the file is there
        but is no SQLite database or cannot be read.
    """
    await asyncio.to_thread(_prepare, Path(url.database or ""))


def _prepare(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mounts = _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""
        kind = file_system_of(path.parent.resolve(), mounts)
        if kind in _NETWORK_FILE_SYSTEMS:
            raise CatalogError(
                f"the catalog {path} would lie on a network file system ({kind}), where SQLite "
                "loses data; keep it on a local disk or use PostgreSQL (GRAMSERVE_DATABASE_URL); "
                "data sets and Gram matrices may stay where they are"
            )
        if not path.exists():
            return
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise CatalogError(
            f"the catalog {path} cannot be opened: {error.strerror or error}; "
            "name a file in a directory that this user may write"
        ) from error
    if head not in (b"", _SQLITE_HEADER):
        raise CatalogError(
            f"{path} is not an SQLite database; move it away and start again "
            "(stored blocks are found again, the list of jobs is not), or name another file"
        )


def file_system_of(path: Path, mounts: str) -> str | None:
    r"""Return the type of the file system that holds a path.

    Parameters
    ----------
    path : Path
        Absolute, symbolic links resolved.
    mounts : str
        Text of ``/proc/mounts``.

    Returns
    -------
    str or None
        For example "ext4"; None when no line fits.

    Examples
    --------
    >>> file_system_of(Path("/home/ada/x"), "/dev/sda / ext4 rw 0 0\nsrv:/h /home nfs4 rw 0 0")
    'nfs4'
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes blanks in a mount point as \040.
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        # Of two mounts on one point, the later one hides the earlier.
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), fields[2])
    return found[1] if found else None
