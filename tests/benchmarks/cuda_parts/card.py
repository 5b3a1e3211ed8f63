"""What a card knows of a program beside its results: machine code, registers, spills."""

import tempfile
from pathlib import Path

from gramserve.arrays.device import COMPILER_OPTIONS


def read_cubin(device, source):
    """Return what the card's compiler made of a source, as it lies on disk, or None.

    Only what was compiled before is found; nothing is compiled here.
    """
    from cupy.cuda import nvrtc

    from gramserve.arrays.cubins import cubin_of

    def make():
        raise LookupError

    try:
        return cubin_of((source, COMPILER_OPTIONS, device.architecture, nvrtc.getVersion()), make)
    except LookupError:
        return None


def read_resources(cubin, kernels):
    """Return the most registers and the most bytes of local memory that a kernel takes.

    Local memory is where registers are spilled to; none should need any.
    """
    import cupy

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "kernels.cubin"
        path.write_bytes(cubin)
        module = cupy.RawModule(path=str(path))
        found = [module.get_function(name) for name in sorted(set(kernels))]
        return (
            max(kernel.num_regs for kernel in found),
            max(kernel.local_size_bytes for kernel in found),
        )
