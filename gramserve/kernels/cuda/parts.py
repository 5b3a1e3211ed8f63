"""Parts of a block that are small enough for a device and its host."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from gramserve.kernels.cuda.items import item_positions
from gramserve.kernels.cuda.program import Program
from gramserve.kernels.cuda.variances import padded_variances
from gramserve.kernels.inputs import input_width
from gramserve.spec import KernelSpec


@dataclass(frozen=True)
class Part:
    """A rectangle of a block, as half-open ranges."""

    rows: slice
    columns: slice
    is_diagonal: bool = False
    """Whether it is a square on the diagonal of a symmetric block, of which half is computed."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def halves(self) -> "tuple[Part, ...]":
        """Return smaller parts that make up this one; none of a single pair.

        A square on the diagonal becomes two such and what is above the second.
        """
        height, width = self.shape
        if height * width == 1:
            return ()
        if self.is_diagonal:
            first, second = _halves(self.rows)
            return Part(first, first, True), Part(first, second), Part(second, second, True)
        if height >= width:
            return tuple(Part(half, self.columns) for half in _halves(self.rows))
        return tuple(Part(self.rows, half) for half in _halves(self.columns))


def _halves(run: slice) -> tuple[slice, slice]:
    middle = (run.start + run.stop + 1) // 2
    return slice(run.start, middle), slice(middle, run.stop)


@dataclass(frozen=True)
class Need:
    """Memory that a part takes in one place, in bytes."""

    row: int
    """For each row item."""
    column: int
    """For each column item."""
    pair: int
    """For each pair."""
    room: int
    """How much there may be."""

    def admits(self, part: Part) -> bool:
        """Return whether a part fits."""
        height, width = part.shape
        return height * self.row + width * self.column + height * width * self.pair <= self.room


def cut_parts(whole: Part, *needs: Need) -> Iterator[Part]:
    """Yield parts that fit everywhere, and single pairs where even they do not.

    Parameters
    ----------
    whole : Part
        The block.
    *needs : Need
        Of the device, of the host.

    Yields
    ------
    Part
        They cover the block, or its upper triangle, once.
    """
    smaller = () if all(need.admits(whole) for need in needs) else whole.halves()
    if not smaller:
        yield whole
    for part in smaller:
        yield from cut_parts(part, *needs)


def device_need(program: Program, spec: KernelSpec, item_shape: tuple[int, ...], room: int) -> Need:
    """Return what a part takes on a device besides the states of batches.

    Parameters
    ----------
    program : Program
        Of the network.
    spec : KernelSpec
        The kernel.
    item_shape : tuple of int
        Shape of one item.
    room : int
        Bytes that there may be.

    Returns
    -------
    Need
        Roots of variances and items, those of columns twice, and the numbers of all readouts.
    """
    early, late = program.dtypes.early.itemsize, program.dtypes.late.itemsize
    dtypes = late if early == late else early + late
    side = 2 * padded_variances(spec, item_shape) * dtypes
    side += _item_numbers(spec, item_shape) * early
    numbers = (program.steps.results + len(spec.readouts) + 1) * (1 + program.tangent)
    return Need(side, 2 * side, numbers * late + 8 * len(spec.outputs), room)


def host_need(spec: KernelSpec, item_shape: tuple[int, ...], room: int) -> Need:
    """Return what preparing a part takes on the host.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : tuple of int
        Shape of one item.
    room : int
        Bytes that there may be.

    Returns
    -------
    Need
        Roots and items in float64 on their way to the device, and the indices of pairs.
    """
    roots, numbers = padded_variances(spec, item_shape), _item_numbers(spec, item_shape)
    return Need(40 * roots + 32 * numbers, 40 * roots + 32 * numbers, 64, room)


def _item_numbers(spec: KernelSpec, item_shape: tuple[int, ...]) -> int:
    width = input_width(spec, item_shape)
    return width if len(item_shape) == 1 else width * prod(item_positions(spec, item_shape))
