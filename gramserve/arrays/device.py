"""What an engine asks of a device: memory, streams, and modules compiled from source.

:class:`~gramserve.arrays.cuda_device.CudaDevice` is a card. The tests have another one, which runs
the same sources on the CPU and is stricter: what works there asks for nothing that CUDA leaves
undefined.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gramserve.arrays.namespaces import Array

COMPILER_OPTIONS = ("-std=c++17", "--fmad=true")
"""What sources are compiled with. Small numbers stay: CuPy's own modules flush them to zero."""

OLDEST_CAPABILITY = 80
"""Ten times the least compute capability of a card: sources are compiled for sm_80 and later."""


class Stream(Protocol):
    """A queue of work on a device; what lies in one stream happens in order.

    A context manager: inside it, functions of the arrays' namespace (``cupy.matmul``, ...) and
    :meth:`Device.allocate` belong to this stream. It stays inside one thread.
    """

    def synchronize(self) -> None:
        """Wait for everything in this stream; downloads have arrived afterwards.

        Raises
        ------
        BlockError
            Something in the stream failed.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Module(Protocol):
    """Compiled kernels with constants of their own.

    Two modules of the same source share nothing: each has its constants.
    """

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
        """Put one run of a kernel into a stream; does not wait for it.

        Parameters
        ----------
        name : str
            An ``extern "C" __global__`` function of the source.
        grid : int
            Number of blocks, at least 1.
        block : int
            Threads of a block, a multiple of 32 up to 1024.
        arguments : sequence
            In the order of the function's parameters. Arrays go as pointers to their first number
            and must be C-contiguous, None is a null pointer, NumPy scalars go by value and must
            have exactly the parameter's type.
        shared_bytes : int
            Dynamic shared memory of a block, at most :attr:`Device.shared_bytes`.
        stream : Stream
            Where it is put. Arrays must stay alive until they were used: one that is freed inside
            the stream it was allocated in may be, since its memory is handed out again in order.

        Raises
        ------
        BlockError
            There is no such kernel, or the device refuses the launch.
        """
        ...

    def set_constants(self, name: str, values: NDArray[Any]) -> None:
        """Fill a ``__constant__`` array, before any launch.

        Parameters
        ----------
        name : str
            Name of the array, at global scope in the source.
        values : numpy.ndarray
            One dimension, of the array's type and at most its length; the rest stays zero.
        """
        ...


class Device(Protocol):
    """A card, or what stands for one."""

    @property
    def name(self) -> str:
        """What its maker calls it, for example "NVIDIA H200"."""
        ...

    @property
    def architecture(self) -> str:
        """What the compiler calls it, for example "sm_90"."""
        ...

    @property
    def multiprocessors(self) -> int:
        """How many blocks, at least, run at the same time."""
        ...

    @property
    def shared_bytes(self) -> int:
        """The most dynamic shared memory that one block can have, in bytes."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes may still be allocated, counting what the pool would reuse.

        In one piece it may be less, and other processes may take it first.
        """
        ...

    def compile(self, source: str) -> Module:
        """Compile a source, or find it compiled on disk by its content.

        Parameters
        ----------
        source : str
            CUDA C++17 that includes nothing.

        Returns
        -------
        Module
            A new one at each call, with constants of its own, all zero.

        Raises
        ------
        EngineUnavailableError
            There is no compiler.
        BlockError
            The compiler refuses; the message has its log.
        """
        ...

    def stream(self) -> Stream:
        """Return a new stream, which runs beside all others.

        A few that are kept are better than many: freed memory stays with its stream.
        """
        ...

    def allocate(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array:
        """Return a C-contiguous array of arbitrary content.

        Inside ``with stream:`` its memory belongs to that stream: when the array is freed, the
        stream gets it back and later work of that stream may use it. So allocate inside the
        stream that uses the array.

        Raises
        ------
        DeviceMemoryError
            It does not fit.
        """
        ...

    def upload(self, values: NDArray[Any], stream: Stream) -> Array:
        """Return a C-contiguous copy on the device, complete for what follows in the stream.

        ``values`` may be changed as soon as this returns.

        Raises
        ------
        DeviceMemoryError
            It does not fit.
        """
        ...

    def download(self, array: Array, into: NDArray[Any], stream: Stream) -> None:
        """Copy to the host what the array holds at this place of the stream.

        Parameters
        ----------
        array : array
            On the device.
        into : numpy.ndarray
            Same shape and dtype; holds the numbers after ``stream.synchronize()``, not before.
        stream : Stream
            Where the copy is put.
        """
        ...

    def guard(self) -> AbstractContextManager[None]:
        """Return a context that turns errors of the device into gramserve's.

        Methods of devices, modules and streams raise those anyway; this is for functions of the
        arrays' namespace.

        Raises
        ------
        DeviceMemoryError
            Out of memory; may be tried again with less.
        BlockError
            Any other fault.
        """
        ...
