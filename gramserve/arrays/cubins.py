"""Compiled kernels on disk, next to CuPy's own, found by their content."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_DEFAULT_PLACE = "~/.cupy/kernel_cache"


def place() -> Path:
    """Return the directory, ``CUPY_CACHE_DIR`` or what CuPy takes without it."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path(_DEFAULT_PLACE).expanduser())


def cubin_of(key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
    """Return what was compiled before from the same key, or compile and keep it.

    Parameters
    ----------
    key : tuple
        Everything the result depends on: source, options, architecture, version of the compiler.
    make : callable
        Compiles.

    Returns
    -------
    bytes
        A cubin, whole: files appear under their name when they are complete, and carry a
        checksum. Where the directory cannot be written, everything is compiled anew.
    """
    path = place() / f"gramserve-{hashlib.sha256(repr(key).encode()).hexdigest()}.cubin"
    with contextlib.suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept[32:]).digest() == kept[:32]:
            return kept[32:]
    cubin = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(cubin).digest() + cubin)
        Path(file.name).replace(path)
    return cubin
