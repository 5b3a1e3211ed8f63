"""What the C library does with the memory of freed arrays."""

import ctypes
import sys
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Names of two settings of glibc's ``mallopt``."""


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed arrays for the next ones, in this process.

    Otherwise glibc gives large arrays back to the system one by one, and every temporary is
    mapped and zeroed afresh: up to half of the time of an engine that works on temporaries.
    Arrays up to 32 MiB come from the heap from now on, of which up to 128 MiB stay when freed.

    Returns
    -------
    bool
        False where the C library is another one; nothing changes there.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(
        library.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        and library.mallopt(_TRIM_THRESHOLD, 128 * 2**20)
    )
