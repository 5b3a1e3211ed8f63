"""A file system of a few megabytes that only one process sees, to be filled and emptied."""

import contextlib
import os
import subprocess
from pathlib import Path

_MOUNT = 'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"'


def small_disk(folder, size):
    """Return the words that run a command with a small disk on a directory.

    None where this user may not mount anything, not even in a namespace of their own.
    """
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        words = [*unshare, "sh", "-c", _MOUNT, size, str(folder)]
        with contextlib.suppress(OSError):
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                return words
    return None


class Filler:
    """A file that takes all the space there is.

    Parameters
    ----------
    pid : int
        A process that sees the disk.
    folder : Path
        Where that process has it.
    """

    def __init__(self, pid, folder):
        self._path = Path(f"/proc/{pid}/root{folder}/filler")

    def fill(self):
        """Write until nothing more fits."""
        with self._path.open("ab", buffering=0) as file:
            for size in (2**16, 2**9, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
            os.fsync(file.fileno())

    def free(self):
        """Give the space back."""
        self._path.unlink()
