"""Who uses a state directory: one server alone, or several that share one database.

The lock is the operating system's, on a file that is never removed, so it ends with the process
that holds it, however that ends: after a power cut or SIGKILL no stale lock is left behind.
"""

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from gramserve.errors import ConflictError, StoreError

LOCK = "server.lock"
"""Name of the file in the state directory."""

_PATIENCE_S = 10.0
_PAUSE_S = 0.05


@contextlib.contextmanager
def occupied(
    root: Path, *, is_shared: bool, clear: Callable[[], None], patience_s: float = _PATIENCE_S
) -> Iterator[str | None]:
    """Use a state directory until the context ends.

    Parameters
    ----------
    root : Path
        The state directory.
    is_shared : bool
        Whether other servers of the same kind may use it at the same time. True only where they
        agree in a database of their own on who computes what.
    clear : callable
        Removes what an earlier server left unfinished; called before anything else, and only
        while nobody else uses the directory.
    patience_s : float
        How long a server that shares waits for another one that is starting, in seconds.

    Yields
    ------
    str or None
        What names the directory, wherever it is mounted, and no copy of it, for a server that
        found itself alone: whoever used that directory before is gone. None for one that came
        to others.

    Raises
    ------
    ConflictError
        When a server uses the directory that does not share it.
    StoreError
        When the file cannot be made or locked.
    """
    path = root / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unlockable(path, error) from error
    try:
        is_alone = _lock(descriptor, path, fcntl.LOCK_EX)
        if is_alone:
            clear()
        elif not is_shared:
            raise _refusal(root)
        name = _name(descriptor) if is_alone else None
        if is_shared:
            _share(descriptor, path, patience_s)
        yield name
    finally:
        os.close(descriptor)


def _name(descriptor: int) -> str:
    status = os.fstat(descriptor)
    if not status.st_size:
        os.pwrite(descriptor, uuid.uuid4().hex.encode(), 0)
    # A copy of the directory has the same content in another file.
    return f"{os.pread(descriptor, 32, 0).decode('ascii', 'replace')}-{status.st_ino:x}"


def _share(descriptor: int, path: Path, patience_s: float) -> None:
    # From alone to shared there is a moment without a lock, in which another server may be the
    # first one; it then clears what is nobody's yet, and shares as well.
    deadline = time.monotonic() + patience_s
    while not _lock(descriptor, path, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            raise _refusal(path.parent)
        time.sleep(_PAUSE_S)


def _lock(descriptor: int, path: Path, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _unlockable(path, error) from error
    return True


def _unlockable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot lock {path}: {error.strerror or error}; keep the state directory on a file "
        "system with locks that this user may write",
        path=str(path),
    )


def _refusal(root: Path) -> ConflictError:
    return ConflictError(
        f"another server uses the state directory {root}; stop it, or choose another directory "
        "with GRAMSERVE_DATA_DIR or --data-dir (several servers share one directory when all of "
        "them use the same PostgreSQL database, GRAMSERVE_DATABASE_URL)",
        path=str(root),
    )
