"""The shim's device, streams and modules: gramserve.arrays.Device on the CPU, and stricter."""

import contextlib
import ctypes
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cuda_shim.compiler import Compiler
from cuda_shim.memory import POISON, Memory
from gramserve.arrays import Array, Stream
from gramserve.errors import BlockError, DeviceMemoryError, GramserveError

MESSAGE_BYTES = 1024
MOST_GRID = 2**31 - 1
_running = threading.Lock()
"""One launch at a time: signal handlers belong to the process."""


class ShimStream:
    """Runs at once, but downloads arrive late, as on a card."""

    def __init__(self) -> None:
        self._late: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def synchronize(self) -> None:
        for copy, into in self._late:
            into[...] = copy
        self._late.clear()

    def promise(self, array: NDArray[Any], into: NDArray[Any]) -> None:
        """Copy now what the caller may read after :meth:`synchronize`."""
        self._late.append((array.copy(), into))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _own(stream: Stream) -> ShimStream:
    if not isinstance(stream, ShimStream):
        raise BlockError(f"a stream of another device was given, {type(stream).__name__}")
    return stream


class ShimModule:
    """A loaded library with constants of its own."""

    def __init__(self, device: "ShimDevice", source: str) -> None:
        self._device = device
        path, self._bounds, constants = device.compiler.library(source)
        # The same file opened twice would be one library; each module loads a copy.
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / path.name
            shutil.copyfile(path, copy)
            self._library = ctypes.CDLL(str(copy))
        self._signatures = {name: self._signature(name) for name in self._bounds}
        self._constants = {name: self._constant(name) for name in constants}
        self._launched = False

    def _signature(self, name: str) -> list[tuple[str, str, int]]:
        function = self._library[f"gramserve_shim_signature_{name}"]
        function.restype = ctypes.c_char_p
        access, kinds, sizes = function().decode().split("/")
        return [(a, k, ord(s) - ord("0")) for a, k, s in zip(access, kinds, sizes, strict=True)]

    def _constant(self, name: str) -> tuple[int, int]:
        function = self._library[f"gramserve_shim_constant_{name}"]
        function.restype = ctypes.c_void_p
        size = ctypes.c_ulong()
        return function(ctypes.byref(size)), size.value

    def set_constants(self, name: str, values: NDArray[Any]) -> None:
        if self._launched:
            raise BlockError(f"{name} was set after a launch, which may still read it")
        if name not in self._constants:
            raise BlockError(f"the source has no __constant__ array {name!r} at global scope")
        address, size = self._constants[name]
        if values.ndim != 1 or values.nbytes > size:
            raise BlockError(
                f"{name} has {size} bytes, and {values.nbytes} bytes of shape {values.shape} "
                "were to go there"
            )
        ctypes.memmove(address, np.ascontiguousarray(values).ctypes.data, values.nbytes)

    def launch(
        self,
        name: str,
        grid: int,
        block: int,
        arguments: Sequence[Array | np.generic | None],
        *,
        shared_bytes: int = 0,
        stream: Stream,
    ) -> None:
        if name not in self._bounds:
            raise BlockError(f"the source has no kernel {name!r}; it has {sorted(self._bounds)}")
        _own(stream)
        self._check_sizes(name, grid, block, shared_bytes)
        # One word for each argument, and a pointer to each word, as cuLaunchKernel takes them.
        words = (ctypes.c_uint64 * max(1, len(arguments)))()
        self._write(name, arguments, words)
        first = ctypes.addressof(words)
        pointers = (ctypes.c_void_p * len(words))(*(first + 8 * i for i in range(len(words))))
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        fault = ctypes.c_void_p()
        run = self._library[f"gramserve_shim_launch_{name}"]
        self._device.launches.append((name, grid, block, shared_bytes))
        with _running:
            self._launched = True
            failed = run(
                pointers,
                ctypes.c_uint(grid),
                ctypes.c_uint(block),
                ctypes.c_uint(shared_bytes),
                ctypes.c_int(self._device.backward),
                message,
                ctypes.c_ulong(MESSAGE_BYTES),
                ctypes.byref(fault),
            )
        if failed:
            text = message.value.decode()
            raise BlockError(f"{name}, {text}{_nearest(fault.value, arguments)}")
        self._device.memory.check()

    def _check_sizes(self, name: str, grid: int, block: int, shared_bytes: int) -> None:
        if not 1 <= grid <= MOST_GRID:
            raise BlockError(f"{name}: a grid of {grid} blocks")
        if block % 32 or not 32 <= block <= self._bounds[name]:
            raise BlockError(
                f"{name}: blocks of {block} threads; they have a multiple of 32, here up to "
                f"{self._bounds[name]}"
            )
        if not 0 <= shared_bytes <= self._device.shared_bytes:
            raise BlockError(
                f"{name}: {shared_bytes} bytes of shared memory of {self._device.shared_bytes}"
            )

    def _write(
        self,
        name: str,
        arguments: Sequence[Array | np.generic | None],
        words: "ctypes.Array[ctypes.c_uint64]",
    ) -> None:
        signature = self._signatures[name]
        if len(arguments) != len(signature):
            raise BlockError(f"{name} takes {len(signature)} arguments, not {len(arguments)}")
        for index, (argument, parameter) in enumerate(zip(arguments, signature, strict=True)):
            fault = _misfit(argument, *parameter)
            if fault is not None:
                raise BlockError(f"{name}, argument {index}: {fault}")
            if isinstance(argument, np.ndarray):
                words[index] = argument.ctypes.data
            elif isinstance(argument, np.generic):
                place = ctypes.addressof(words) + 8 * index
                ctypes.memmove(place, argument.tobytes(), argument.nbytes)


def _misfit(argument: Any, access: str, kind: str, size: int) -> str | None:
    """Return why an argument does not go with a parameter, or None."""
    wanted = "a struct" if kind == "?" else "bool" if kind == "b" else f"{kind}{size}"
    if access == "v":
        if not isinstance(argument, np.generic):
            return f"a NumPy scalar of {wanted} is wanted, not {type(argument).__name__}"
        if (argument.dtype.kind, argument.itemsize) != (kind, size):
            return f"{wanted} is wanted, not {argument.dtype}"
        return None
    if argument is None:
        return None
    if not isinstance(argument, np.ndarray):
        return f"an array of {wanted} is wanted, not {type(argument).__name__}"
    if not argument.flags.c_contiguous:
        return f"the array of shape {argument.shape} is not C-contiguous"
    if kind != "?" and (argument.dtype.kind, argument.itemsize) != (kind, size):
        return f"an array of {wanted} is wanted, not of {argument.dtype}"
    if access == "p" and not argument.flags.writeable:
        return "the kernel may write to this array, which is read-only"
    return None


def _nearest(address: int | None, arguments: Sequence[Any]) -> str:
    """Say where an address lies, as seen from the nearest array of a launch."""
    if address is None:
        return ""
    found = f" (address {address:#x})"
    nearest = 2**30
    for index, array in enumerate(arguments):
        if not isinstance(array, np.ndarray):
            continue
        distance = address - array.ctypes.data
        away = max(-distance, distance - array.nbytes, 0)
        if away < nearest:
            nearest = away
            found = f" (byte {distance} of argument {index}, which has {array.nbytes})"
    return found


class ShimDevice:
    """A card made of the CPU.

    Parameters
    ----------
    memory_bytes : int
        What arrays may have together.
    shared_bytes : int
        What a block may have.
    multiprocessors : int
        What the device says it has.
    backward : bool
        Run blocks, and the threads of each, in the other order; results must be the same bits.
    compiler : Compiler, optional
        How sources are compiled.

    Attributes
    ----------
    memory : Memory
        Its ``used`` and ``most_used`` are bytes of arrays.
    launches : list of tuple
        Kernel, blocks, threads of a block and bytes of shared memory of every launch so far.
    """

    def __init__(
        self,
        memory_bytes: int = 2**30,
        *,
        shared_bytes: int = 99 * 1024,
        multiprocessors: int = 4,
        backward: bool = False,
        compiler: Compiler | None = None,
    ) -> None:
        self.name = "CPU"
        self.architecture = "sm_80"
        self.multiprocessors = multiprocessors
        self.shared_bytes = shared_bytes
        self.backward = backward
        self.compiler = compiler or Compiler()
        self.memory = Memory(memory_bytes)
        self.launches: list[tuple[str, int, int, int]] = []

    def free_bytes(self) -> int:
        return self.memory.limit - self.memory.used

    def compile(self, source: str) -> ShimModule:
        return ShimModule(self, source)

    def stream(self) -> ShimStream:
        return ShimStream()

    def allocate(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array:
        return self.memory.allocate(shape, dtype)

    def upload(self, values: NDArray[Any], stream: Stream) -> Array:
        _own(stream)
        array = self.allocate(values.shape, values.dtype)
        array[...] = values
        return array

    def download(self, array: Array, into: NDArray[Any], stream: Stream) -> None:
        if array.shape != into.shape or array.dtype != into.dtype:
            raise BlockError(
                f"{array.dtype} of shape {array.shape} was to be downloaded into {into.dtype} of "
                f"shape {into.shape}"
            )
        _own(stream).promise(array, into)
        if into.dtype.kind == "f":
            into[...] = np.nan
        elif into.flags.c_contiguous:
            into.reshape(-1).view(np.uint8)[...] = POISON

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        try:
            yield
        except MemoryError as error:
            if isinstance(error, GramserveError):
                raise
            raise DeviceMemoryError(f"{error}; use smaller batches") from error
