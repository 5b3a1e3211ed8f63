"""Files that are whole or absent: staged under another name, then renamed.

A staged name ends in ``.partial`` and its writer holds a lock on it, so that :func:`sweep` can
tell what a dead writer left behind from what a living one is still writing.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Buffer, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from gramserve.errors import GramserveError, StorageFullError, StoreError

PARTIAL = ".partial"
"""Suffix of files and directories that are not finished."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}


@contextlib.contextmanager
def reporting(doing: str, path: Path) -> Iterator[None]:
    """Turn an :class:`OSError` into a :class:`~gramserve.errors.StoreError` that names the path.

    Parameters
    ----------
    doing : str
        What is attempted, for example ``"write"``.
    path : Path
        Where.

    Raises
    ------
    StorageFullError
        If the disk or the quota is full.
    StoreError
        For any other refusal of the file system.
    """
    try:
        yield
    except GramserveError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(
                f"cannot {doing} {path}: {_free(path)}; free some space and resume",
                path=str(path),
            ) from error
        raise StoreError(
            f"cannot {doing} {path}: {error.strerror or error}", path=str(path)
        ) from error


def _free(path: Path) -> str:
    # A quota can be exhausted while the disk is not, so the number is told, not judged.
    for folder in path.parents:
        with contextlib.suppress(OSError):
            return f"no space left ({shutil.disk_usage(folder).free:,} bytes free on the disk)"
    return "no space left"


def write_all(descriptor: int, parts: Iterable[Buffer]) -> None:
    """Write buffers one after the other, however little the system takes at a time.

    Parameters
    ----------
    descriptor : int
        Open for writing.
    parts : iterable of buffer
        C-contiguous.
    """
    for part in parts:
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class StagedFile:
    """A file written under a temporary name, to appear whole by :meth:`commit` or never.

    Parameters
    ----------
    path : Path
        The final name; its directory is made when missing.
    parts : iterable of buffer
        The content, in order.

    Raises
    ------
    StorageFullError
        If there is no space; nothing is left behind.
    StoreError
        If the file system refuses.

    Notes
    -----
    The bytes are synced to disk before the rename, so a name that survives a power loss has its
    content. :meth:`commit` does not sync the directory, so a loss of power can cost a name of
    the last seconds, and with it one block to compute again; :meth:`commit_new` does.
    """

    def __init__(self, path: Path, parts: Iterable[Buffer]) -> None:
        self.path = path
        with reporting("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._staged, self._descriptor = _open_locked(path)
            try:
                write_all(self._descriptor, parts)
                os.fsync(self._descriptor)
            except BaseException:
                self.discard()
                raise

    def commit(self) -> None:
        """Give the file its name, in place of whatever had it."""
        with reporting("write", self.path):
            self._staged.replace(self.path)
        self.discard()

    def commit_new(self) -> bool:
        """Give the file its name unless something has it already.

        Returns
        -------
        bool
            Whether it got the name.
        """
        with reporting("write", self.path):
            try:
                os.link(self._staged, self.path)
            except FileExistsError:
                return False
            finally:
                self.discard()
            _sync_names(self.path.parent)
        return True

    def discard(self) -> None:
        """Remove the temporary name, if it is still there, and let go of the lock."""
        self._staged.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def _open_locked(path: Path) -> tuple[Path, int]:
    while True:
        staged = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        if lock(descriptor) and staged.exists():
            return staged, descriptor
        # A sweep came between the two calls and removed the name: take another.
        os.close(descriptor)


def write_file(path: Path, parts: Iterable[Buffer]) -> None:
    """Write a file that appears whole or not at all, in place of an older one.

    Parameters
    ----------
    path : Path
        Where; the directory is made when missing.
    parts : iterable of buffer
        The content, in order.
    """
    with StagedFile(path, parts) as staged:
        staged.commit()


def link_file(source: Path, path: Path) -> bool:
    """Give a finished file a second name, in place of whatever had that name.

    Parameters
    ----------
    source : Path
        A file that is only ever replaced, never changed.
    path : Path
        The second name; the directory is made when missing.

    Returns
    -------
    bool
        False if the file system cannot link there, so that the bytes must be copied.
    """
    staged = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    with reporting("link", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, staged)
            staged.replace(path)
        except OSError as error:
            # FileNotFoundError: the source went away, or a sweep took the name we just made.
            if error.errno not in {*_UNLINKABLE, errno.ENOENT}:
                raise
            return False
        finally:
            # A rename between two names of one file does nothing and leaves both.
            staged.unlink(missing_ok=True)
    return True


class StagedDirectory:
    """A directory filled under a temporary name, to appear whole by :meth:`commit` or never.

    Parameters
    ----------
    folder : Path
        Where the directory will appear; it is staged here so that a rename suffices.
    """

    def __init__(self, folder: Path) -> None:
        with reporting("create a directory in", folder):
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                self.path = folder / f"{uuid.uuid4().hex}{PARTIAL}"
                self.path.mkdir()
                with contextlib.suppress(FileNotFoundError):
                    self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                    if lock(self._descriptor) and self.path.exists():
                        return
                    os.close(self._descriptor)

    def commit(self, path: Path) -> bool:
        """Give the directory its name unless that name is taken.

        Parameters
        ----------
        path : Path
            The final name, in the same folder.

        Returns
        -------
        bool
            False if the name was taken; the staged directory is then removed.
        """
        with reporting("create", path):
            for folder, _, _ in os.walk(self.path):
                _sync_names(Path(folder))
            try:
                self.path.rename(path)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                return False
            finally:
                self.discard()
            _sync_names(path.parent)
        return True

    def discard(self) -> None:
        """Remove the temporary name, if it is still there, and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def _sync_names(folder: Path) -> None:
    """Have the names in a directory on disk, so that a loss of power does not take them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some cannot, and need not
            raise
    finally:
        os.close(descriptor)


def read_range(path: Path, start: int = 0, stop: int | None = None) -> bytes:
    """Read a range of bytes of a file.

    Parameters
    ----------
    path : Path
        The file.
    start, stop : int
        Half-open, not negative; to the end by default.

    Returns
    -------
    bytes
        Fewer than asked for where the file ends.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        if stop is None:
            return file.readall()
        return file.read(max(0, stop - start)) or b""


def remove_directory(path: Path) -> bool:
    """Remove a directory so that it is whole until it is gone.

    Parameters
    ----------
    path : Path
        What to remove.

    Returns
    -------
    bool
        False if there was none.
    """
    doomed = path.with_name(f"{uuid.uuid4().hex}{PARTIAL}")
    with reporting("remove", path):
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
    return True


def lock(descriptor: int) -> bool:
    """Lock an open file or directory against everybody else who asks.

    Parameters
    ----------
    descriptor : int
        Open; the lock ends when it is closed, or its process ends.

    Returns
    -------
    bool
        False if somebody else holds the lock.
    """
    # The lock is the open file's, so it ends with the process, however that ends.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def identity_of(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is replaced: inode, modification time (ns), size.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
