"""Memory of the shim's device: bounded, poisoned, and ending at a page nobody may touch."""

import ctypes
import math
import mmap
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gramserve.errors import BlockError, DeviceMemoryError

PAGE = mmap.PAGESIZE
ALIGNMENT = 16
POISON = 0xFF
"""Every byte of fresh memory: NaN in floats, -1 in integers."""
_PROT_NONE = 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Memory:
    """Allocates arrays that fault when a kernel reads or writes past their end.

    Parameters
    ----------
    limit : int
        Bytes that arrays may have together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.most_used = 0
        self._lock = threading.RLock()
        self._margins: dict[int, tuple[tuple[int, int], ...]] = {}

    def allocate(self, shape: int | Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Return a poisoned array."""
        shape = (shape,) if isinstance(shape, int) else tuple(int(side) for side in shape)
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        with self._lock:
            if self.used + size > self.limit:
                raise DeviceMemoryError(
                    f"the device has {self.limit - self.used} bytes left of {self.limit}, and "
                    f"{size} were asked for: use smaller batches"
                )
            self.used += size
            self.most_used = max(self.most_used, self.used)
        room = -(-size // ALIGNMENT) * ALIGNMENT
        pages = -(-room // PAGE) * PAGE
        block = mmap.mmap(-1, pages + PAGE)
        whole = np.frombuffer(block, np.uint8)
        if _libc.mprotect(whole.ctypes.data + pages, PAGE, _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
        whole[:pages] = POISON
        first = pages - room
        begin = whole.ctypes.data
        # What lies before and behind the array must stay as it is. Addresses only: a view would
        # keep the memory alive.
        before = min(first, 256)
        margins = ((begin + first - before, before), (begin + first + size, room - size))
        key = id(block)
        self._margins[key] = margins
        weakref.finalize(block, self._freed, key, size)
        return whole[first : first + size].view(kind).reshape(shape)

    def _freed(self, key: int, size: int) -> None:
        with self._lock:
            del self._margins[key]
            self.used -= size

    def check(self) -> None:
        """Raise if something wrote just outside an array."""
        with self._lock:
            for key in list(self._margins):
                for address, size in self._margins.get(key, ()):
                    if ctypes.string_at(address, size) != bytes([POISON]) * size:
                        raise BlockError(
                            "the kernel wrote outside an array, just before or behind it"
                        )
