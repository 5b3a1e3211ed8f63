"""The CUDA engine's side of the engine protocol."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.arrays import Device, OwnCard, namespace_of, to_host
from gramserve.errors import DeviceMemoryError
from gramserve.kernels.blame import blame
from gramserve.kernels.cpu import CpuEngine
from gramserve.kernels.cuda.activations import count_numbers, find_unsupported
from gramserve.kernels.cuda.parts import Part, cut_parts, device_need, host_need
from gramserve.kernels.cuda.program import NUMBERS_OF_LAYERS, Program
from gramserve.kernels.cuda.run import Block, Streams, evaluate_block
from gramserve.kernels.items import Items, label_items
from gramserve.kernels.precision import result_dtype
from gramserve.kernels.reference import ReferenceEngine
from gramserve.kernels.variances import spec_layers
from gramserve.spec import KernelSpec, OutputName, Precision, infer_shapes

_PROGRAMS_KEPT = 16

_SHARE = 0.25
"""Part of the free memory that items, variances and numbers of a block take; batches have more."""


class CudaEngine:
    """CuPy, cyclic tiles in registers of a card.

    Parameters
    ----------
    device : Device or OwnCard, optional
        Where to compute; by default the first card of ``CUDA_VISIBLE_DEVICES``, looked for when
        it is needed first.
    """

    name = "cuda"
    about = "CUDA, cyclic tiles in registers"

    def __init__(self, device: Device | OwnCard | None = None) -> None:
        self._own = device if isinstance(device, OwnCard) else OwnCard(device)
        self._dense = ReferenceEngine()
        self._host = CpuEngine()
        self._streams: Streams | None = None
        self._programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()

    @property
    def device(self) -> str:
        """Name of the card; "cuda" while none is there."""
        return self._own.name or "cuda"

    def missing(self) -> str | None:
        """Return why there is no card to compute on, or None."""
        return self._own.missing()

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:  # noqa: ARG002
        """Return why the engine cannot run a kernel, or None if it can."""
        reason = self.missing()
        if reason is not None:
            return reason
        found = find_unsupported(spec.layers)
        for number, readout in enumerate(spec.readouts):
            found = found or find_unsupported(readout.layers, f"readouts[{number}].layers")
        if found is None and (numbers := count_numbers(spec_layers(spec))) > NUMBERS_OF_LAYERS:
            found = (
                f"its layers have {numbers} numbers, most of them coefficients of polynomials, and "
                f"constant memory has room for {NUMBERS_OF_LAYERS}"
            )
        return found

    def warm(self) -> None:
        """Nothing: kernels are compiled for each network, and kept on disk."""

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the memory of the host that a block needs beside its values, in bytes.

        For variances, which the host computes, and for preparing at least one pair.
        """
        need = host_need(spec, tuple(item_shape), 0)
        return max(
            self._host.temporary_bytes(spec, item_shape, precision),
            need.row + need.column + need.pair,
        )

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances an item has: all layers' ``q``, in the layers' order."""
        return self._host.variance_length(spec, item_shape)

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Return the variances of every item, computed on the host by the CPU engine.

        They take the time of a few pairs for each item, and a block has many pairs of each.
        """
        return self._host.variances(
            spec, values, precision, memory_bytes=memory_bytes, threads=threads
        )

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,  # noqa: ARG002 - a card has its own
    ) -> dict[OutputName, NDArray[Any]]:
        """Return all kernels asked for, of every row item with every column item.

        Parameters
        ----------
        spec : KernelSpec
            The kernel.
        rows, columns : Items
            n and m items of one shape.
        precision : {"float32", "mixed", "float64"}
            How to compute. "mixed" takes float64 from the first pool on.
        memory_bytes : int
            Of the host, for finding the layer of a value that is not finite. The card's own free
            memory decides how many pairs go together.
        threads : int
            Not used.

        Returns
        -------
        dict of ndarray, (n, m)
            float64 for "float64", else float32.

        Raises
        ------
        NonFiniteKernelError
            When a value is NaN or infinite; names the layer and the first bad pair.
        DeviceMemoryError
            When not even one pair fits on the card.
        BlockError
            When the card fails.
        """
        shape = rows.values.shape[1:]
        infer_shapes(spec, shape)
        device = self._own.device()
        whole = Block(spec, rows, columns, *label_items(rows, columns))
        result = {
            name: np.empty((len(rows), len(columns)), result_dtype(precision))
            for name in spec.outputs
        }
        with self._own.turn:
            if self._streams is None:
                self._streams = Streams(device)
            streams = self._streams
            program = self._program(device, spec, shape, precision)
            first = Part(slice(0, len(rows)), slice(0, len(columns)), whole.is_symmetric)
            needs = (
                device_need(program, spec, shape, int(device.free_bytes() * _SHARE)),
                host_need(spec, shape, memory_bytes),
            )
            parts = list(cut_parts(first, *needs))[::-1]
            while parts:
                part = parts.pop()
                try:
                    bad = _evaluate_part(streams, program, whole.part(part), part, result)
                except DeviceMemoryError:
                    # Another process may have taken what was free.
                    if not part.halves():
                        raise
                    parts += part.halves()[::-1]
                    continue
                for found in bad:
                    block = whole.part(part)
                    blame(
                        self._dense,
                        spec,
                        (block.rows, block.columns),
                        precision,
                        found,
                        memory_bytes=memory_bytes,
                        corner=(part.rows.start, part.columns.start),
                    )
                if whole.is_symmetric and not part.is_diagonal:
                    for gram in result.values():
                        gram[part.columns, part.rows] = gram[part.rows, part.columns].T
        return result

    def _program(
        self, device: Device, spec: KernelSpec, shape: tuple[int, ...], precision: Precision
    ) -> Program:
        """Return a network compiled for the device; the last few are kept."""
        key = (spec, shape, precision)
        if key not in self._programs:
            self._programs[key] = Program(device, spec, shape, precision)
        self._programs.move_to_end(key)
        while len(self._programs) > _PROGRAMS_KEPT:
            self._programs.popitem(last=False)
        return self._programs[key]


def _evaluate_part(
    streams: Streams,
    program: Program,
    block: Block,
    part: Part,
    result: dict[OutputName, NDArray[Any]],
) -> list[NDArray[Any]]:
    """Compute a part into its place; return what of it is not finite, (rows, columns) each."""
    ends = evaluate_block(streams, program, block)
    device, stream = streams.device, streams.main
    places = {name: gram[part.rows, part.columns] for name, gram in result.items()}
    with device.guard(), stream:
        for name, place in places.items():
            readout, _, kernel = name.rpartition(".")
            values = ends[readout].t if kernel == "ntk" else ends[readout].s
            assert values is not None  # noqa: S101 - it was asked for
            with np.errstate(over="ignore"):  # what overflows here is found below
                stored = namespace_of(values).array(values, place.dtype)
            device.download(stored, place, stream)
        # A tangent kernel may be finite where the covariance that goes with it is not.
        bad = [
            to_host(end.s) for end in ends.values() if not namespace_of(end.s).isfinite(end.s).all()
        ]
        stream.synchronize()
    for place in places.values():
        if block.is_symmetric:
            for row in range(len(place)):
                place[row + 1 :, row] = place[row, row + 1 :]
    found = [place for place in places.values() if not np.isfinite(place).all()]
    return [*found, *bad]
