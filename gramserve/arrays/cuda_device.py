"""A card, through CuPy. Imported only where CuPy is there."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import cupy
import cupyx
import numpy as np
from cupy.cuda import compiler, driver, function, nvrtc, runtime
from numpy.typing import DTypeLike, NDArray

from gramserve.arrays.cubins import cubin_of
from gramserve.arrays.device import COMPILER_OPTIONS, Stream
from gramserve.arrays.device_errors import device_guard
from gramserve.arrays.namespaces import Array
from gramserve.errors import BlockError

_USUAL_SHARED_BYTES = 48 * 1024
"""More shared memory than this a kernel has to ask for before its launch."""


class CudaStream:
    """A stream that does not wait for the default stream; see :class:`gramserve.arrays.Stream`."""

    def __init__(self, index: int) -> None:
        self._device = cupy.cuda.Device(index)
        with self._device:
            self.queue = cupy.cuda.Stream(non_blocking=True)
        self._late: list[tuple[Array, NDArray[Any], NDArray[Any]]] = []

    def synchronize(self) -> None:
        """Wait; then downloads are in their places."""
        late, self._late = self._late, []
        with device_guard(), self._device:
            self.queue.synchronize()
        for _, pinned, into in late:
            into[...] = pinned

    def promise(self, array: Array, into: NDArray[Any]) -> None:
        """Start a copy that :meth:`synchronize` delivers.

        Only pinned memory of the host can be written while other work goes on.
        """
        with self:
            pinned = cupyx.empty_pinned(array.shape, array.dtype)
            array.get(stream=self.queue, out=pinned, blocking=False)
        self._late.append((array, pinned, into))

    def __enter__(self) -> Self:
        self._device.__enter__()
        self.queue.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.queue.__exit__(kind, error, trace)
        self._device.__exit__(kind, error, trace)


def _own(stream: Stream) -> CudaStream:
    if not isinstance(stream, CudaStream):
        raise BlockError(f"a stream of another device was given, {type(stream).__name__}")
    return stream


class CudaModule:
    """A loaded cubin; see :class:`gramserve.arrays.Module`.

    Not a ``cupy.RawModule``: CuPy loads equal sources once in a process, so that two of them would
    share their constants.
    """

    def __init__(self, index: int, cubin: bytes) -> None:
        self._device = cupy.cuda.Device(index)
        self._functions: dict[str, Any] = {}
        self._shared_bytes: dict[str, int] = {}
        with device_guard(), self._device:
            self._module = function.Module()
            self._module.load(cubin)

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
        """Put one run of a kernel into a stream."""
        for index, argument in enumerate(arguments):
            if isinstance(argument, cupy.ndarray):
                if not argument.flags.c_contiguous:
                    raise BlockError(
                        f"{name}, argument {index}: the array of shape {argument.shape} is not "
                        "C-contiguous"
                    )
            elif argument is not None and not isinstance(argument, np.generic):
                raise BlockError(
                    f"{name}, argument {index}: an array of the device, a NumPy scalar or None "
                    f"is wanted, not {type(argument).__name__}"
                )
        with device_guard(), self._device:
            kernel = self._functions.get(name)
            if kernel is None:
                kernel = self._functions[name] = self._module.get_function(name)
            if shared_bytes > self._shared_bytes.get(name, _USUAL_SHARED_BYTES):
                driver.funcSetAttribute(
                    kernel.ptr,
                    driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared_bytes,
                )
                self._shared_bytes[name] = shared_bytes
            kernel((grid,), (block,), list(arguments), shared_bytes, _own(stream).queue)

    def set_constants(self, name: str, values: NDArray[Any]) -> None:
        """Fill a ``__constant__`` array. CuPy does not tell how long it is."""
        values = np.ascontiguousarray(values)
        with device_guard(), self._device:
            place = self._module.get_global_var(name)
            runtime.memcpy(place, values.ctypes.data, values.nbytes, runtime.memcpyHostToDevice)
            # From ordinary memory the copy may still be under way, and streams do not wait for it.
            cupy.cuda.Stream.null.synchronize()


class CudaDevice:
    """A card; see :class:`gramserve.arrays.Device`.

    Memory comes from CuPy's default pool, which ``CUPY_GPU_MEMORY_LIMIT`` bounds; compiled kernels
    are kept where CuPy keeps its own (``CUPY_CACHE_DIR``).

    Parameters
    ----------
    index : int
        Its number among those that ``CUDA_VISIBLE_DEVICES`` leaves.

    Raises
    ------
    EngineUnavailableError
        There is no such card.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._device = cupy.cuda.Device(index)
        with device_guard(), self._device:
            properties = runtime.getDeviceProperties(index)
            self.name: str = properties["name"].decode()
            self.architecture = f"sm_{self._device.compute_capability}"
            self.multiprocessors: int = properties["multiProcessorCount"]
            self.shared_bytes: int = runtime.deviceGetAttribute(
                runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, index
            )

    def free_bytes(self) -> int:
        """Return how many bytes may still be allocated."""
        with device_guard(), self._device:
            pool = cupy.get_default_memory_pool()
            free, _ = runtime.memGetInfo()
            free += pool.free_bytes()
            limit = pool.get_limit()
            if limit:
                free = min(free, limit - pool.used_bytes())
        return max(0, int(free))

    def compile(self, source: str) -> CudaModule:
        """Compile a source for this card, or find it on disk."""
        with device_guard(), self._device:
            key = (source, COMPILER_OPTIONS, self.architecture, nvrtc.getVersion())
            cubin = cubin_of(key, lambda: self._compiled(source))
        return CudaModule(self.index, cubin)

    @staticmethod
    def _compiled(source: str) -> bytes:
        # Without an architecture, CuPy takes the current card's.
        cubin, _ = compiler.compile_using_nvrtc(source, COMPILER_OPTIONS, filename="gramserve.cu")
        # CuPy takes the last byte off, as if it ended a text; in an ELF file it is part of it.
        return bytes(cubin) + b"\0"

    def stream(self) -> CudaStream:
        """Return a new stream."""
        with device_guard():
            return CudaStream(self.index)

    def allocate(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array:
        """Return an array of arbitrary content."""
        with device_guard(), self._device:
            return cupy.empty(shape, dtype)

    def upload(self, values: NDArray[Any], stream: Stream) -> Array:
        """Return a copy on the card."""
        with device_guard(), stream:
            return cupy.array(values, order="C")

    def download(self, array: Array, into: NDArray[Any], stream: Stream) -> None:
        """Copy to the host, complete after ``stream.synchronize()``."""
        if array.shape != into.shape or array.dtype != into.dtype:
            raise BlockError(
                f"{array.dtype} of shape {array.shape} was to be downloaded into {into.dtype} of "
                f"shape {into.shape}"
            )
        if array.size:
            with device_guard():
                _own(stream).promise(array, into)

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the card into gramserve's."""
        return device_guard()
