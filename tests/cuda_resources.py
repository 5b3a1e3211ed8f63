"""What kernels need of a card, from the compiler: registers, spills, memory. Needs no card.

NVRTC always, also where there is an nvcc: it is what compiles the sources in earnest, it is the
same from PyPI everywhere, it needs no C++ compiler next to it, and it is the faster one.
"""

import ctypes
import functools
import importlib.metadata
import re
import struct
from dataclasses import dataclass
from typing import Any

from gramserve.arrays.device import COMPILER_OPTIONS
from gramserve.errors import BlockError, EngineUnavailableError

ARCHITECTURES = ("sm_80", "sm_90")
_PACKAGE = "nvidia-cuda-nvrtc"
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Resources:
    """What one thread, or one block, of a kernel takes; memory in bytes."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    static_shared: int


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a source.

    ``constant`` counts the source's ``__constant__`` arrays; ``warnings`` is everything the
    compiler had to remark, empty if nothing.
    """

    kernels: dict[str, Resources]
    constant: int
    warnings: str
    cubin: bytes


@functools.cache
def _library() -> Any:
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise EngineUnavailableError(
            f"tests compile the CUDA sources with NVRTC, which is not installed: pip install "
            f"{_PACKAGE} (make test does it)"
        ) from None
    (path,) = (file.locate() for file in files if re.match(r"libnvrtc\.so\.\d+$", file.name))
    return ctypes.CDLL(str(path))


def compile_for(source: str, architecture: str) -> Compiled:
    """Compile a source to machine code.

    Parameters
    ----------
    source : str
        CUDA C++17 that includes nothing.
    architecture : str
        For example "sm_90".

    Returns
    -------
    Compiled
        What each kernel takes.

    Raises
    ------
    BlockError
        The compiler refuses; the message has its log.
    """
    told, cubin = _compiled(source, architecture, "--ptxas-options=-v", kind="CUBIN")
    lines = told.splitlines()
    remarks = [line for line in lines if line.strip() and not line.startswith("ptxas ")]
    remarks += [line for line in lines if line.startswith("ptxas warning")]
    return Compiled(_kernels(told), _constant_bytes(cubin), "\n".join(remarks), cubin)


def ptx_of(source: str) -> str:
    """Return what the compiler makes of a source before it knows the card.

    Parameters
    ----------
    source : str
        CUDA C++17 that includes nothing.

    Returns
    -------
    str
        PTX for compute capability 8.0.
    """
    return _compiled(source, "compute_80", kind="PTX")[1].rstrip(b"\0").decode()


def _compiled(source: str, architecture: str, *more: str, kind: str) -> tuple[str, bytes]:
    """Return the compiler's log, and a cubin or PTX."""
    library = _library()
    options = [*COMPILER_OPTIONS, f"-arch={architecture}", *more]
    program = ctypes.c_void_p()
    text = source.encode()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text, b"source.cu", 0, None, None))
    try:
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library.nvrtcCompileProgram(program, len(options), words)
        log = _read(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
        told = log.rstrip(b"\0").decode()
        if status != 0:
            raise BlockError(f"NVRTC refuses the source for {architecture}:\n{told[:8000]}")
        read = getattr(library, f"nvrtcGet{kind}Size"), getattr(library, f"nvrtcGet{kind}")
        return told, _read(*read, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _check(status: int) -> None:
    if status != 0:
        raise BlockError(f"NVRTC fails with status {status}")


def _read(size_of: Any, read: Any, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer))
    return buffer.raw


def _kernels(log: str) -> dict[str, Resources]:
    """Read the log of ptxas, one paragraph a kernel; functions it calls count as its own."""
    _, *parts = _ENTRY.split(log)
    found = {}
    for name, paragraph in zip(parts[::2], parts[1::2], strict=True):
        frames = [tuple(map(int, frame)) for frame in _FRAME.findall(paragraph)]
        cumulative = _number(r"(\d+) bytes cumulative stack size", paragraph)
        found[name] = Resources(
            registers=_number(r"Used (\d+) registers", paragraph),
            stack=max(cumulative, *(frame[0] for frame in frames)),
            spill_stores=sum(frame[1] for frame in frames),
            spill_loads=sum(frame[2] for frame in frames),
            static_shared=_number(r"(\d+) bytes smem", paragraph),
        )
    return found


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def _constant_bytes(cubin: bytes) -> int:
    """Return the size of section ``.nv.constant3``, where ``__constant__`` arrays lie.

    ptxas names it for some architectures only. A cubin is an ELF file of 64 bits.
    """
    offset = struct.unpack_from("<Q", cubin, 0x28)[0]
    entry, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [
        struct.unpack_from("<IIQQQQ", cubin, offset + i * entry)  # name, type, ..., offset, size
        for i in range(count)
    ]
    start = sections[names][4]
    for name, _, _, _, _, size in sections:
        end = cubin.index(b"\0", start + name)
        if cubin[start + name : end] == b".nv.constant3":
            return int(size)
    return 0
