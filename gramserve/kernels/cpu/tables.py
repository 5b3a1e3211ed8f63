"""A network as tables of integers, which compiled code reads: a new one compiles nothing.

Columns of ``ops``: kind; of a convolution taps, strides, dilations, low paddings and fills of
both axes (1 to 10), whether it trains (11), positions after it (12, 13), whether the next op can
be done along with it (15), of a front whether it wraps around and its paddings (15 to 17), which
its other columns then leave out; of a dual its positions (12, 13), where its variances begin (16)
and its degree, or of a normalisation whether one variance serves all positions (17); of a fork
its depth (16) and whether the branch that ends is the first (17). Column 14 is where the numbers
of an op are among ``floats``. Of a numeric activation, where its coefficients are (15).
``ALONE`` keeps what different positions share, which is nothing: planes of offset (0, 0) alone.

Columns of ``stages``: first and last op (0, 1), positions at the start and at the end (2 to 5),
strides (6, 7), first and last plane (8, 9), table of the planes it reads, -1 for the items (10),
exit (11), table of the planes it writes, their entries, where they begin, and whether they are
cleared first (12 to 15), weight (16), op of the front, -1 without one (17), positions before the
front (18, 19), convolutions that move planes up (20); positions behind (21, 22); taps, strides,
low paddings and weights of a pool along both axes, and the table of its strips (23 to 31). Of the
stage that :meth:`Program.tail_stage` makes, 13 is whether there is a tangent yet, 14 the first
variance and 21 the first coefficient.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE, CONV, CONV_IN_PLACE, ALONE, PROJECT, FORK, NEXT, JOIN = range(8)
"""Kinds of ops, before those of duals: :mod:`gramserve.kernels.closed_forms`."""

KEEP, POOL, ADD_UP, BLOCK = range(4)
"""Exits of stages."""

OP_COLUMNS, STAGE_COLUMNS = 18, 32


@dataclass(frozen=True)
class Series:
    """A numeric activation: what its coefficients are made of."""

    function: str
    degree: int
    """Terms: as many coefficients at every position, and as many of the derivative."""
    variance: int
    """Its first variance."""
    positions: int
    """How many variances it has."""
    base: int
    """Its first coefficient."""


@dataclass(frozen=True)
class TapOps:
    """A readout that branches off a network."""

    name: str
    result: int | None
    """Which of the results it begins with; None where it begins with the tail's numbers."""
    shared: int
    """Which point of the tail these are."""
    ops: tuple[int, int]
    """Its own ops on single numbers."""


@dataclass(frozen=True)
class Program:
    """The tables, and how much room they need."""

    ops: NDArray[np.int64]
    stages: NDArray[np.int64]
    tail: tuple[int, ...]
    """Ops of the layers on single numbers: where they begin, where readouts branch off, the end."""
    taps: tuple["TapOps", ...]
    """The readouts that branch off."""
    planes: NDArray[np.int64]
    tables: NDArray[np.int64]
    """Entries where planes begin in a state, by offset, and rows where strips begin; -1 where
    they are not needed."""
    floats: NDArray[np.float64]
    """Weights and other numbers; the last two are 1 and 0."""
    gains: NDArray[np.float64]
    """Factor of ``n`` and of ``i`` at every variance, for ops that are done along with a
    convolution, (2, V)."""
    channels: int
    channel_scale: float
    plane_entries: int
    """Entries of the largest plane, with the rows it moves up."""
    row_entries: int
    """Entries of the longest row."""
    strip_entries: int
    """Entries of the strips of a pool."""
    state_entries: int
    """Entries of all states that exist at once."""
    results: NDArray[np.int64]
    """Entries of the states where the numbers of a pair are: the network's, then those of readouts
    that have their own; none without states."""
    series: tuple[Series, ...]
    """All numeric activations."""
    tail_series: int
    """The first coefficient of those on single numbers."""
    coefficients: int
    """Coefficients of an item."""
    fork_depth: int
    """Forks that are open at once at most."""
    late_stage: int
    """The first stage behind a pool: in "mixed" precision float64 begins there."""

    def room(self, *, ntk: bool) -> tuple[int, ...]:
        """Return the vectors of each buffer that a run needs.

        Parameters
        ----------
        ntk : bool
            Whether ``T`` is asked for.

        Returns
        -------
        tuple of int
            Two planes, what forks keep, strips and states of ``S``; the same of ``T``; one row.
        """
        forks = 2 * self.fork_depth * self.plane_entries
        one = (
            self.plane_entries, self.plane_entries, max(1, forks), self.strip_entries,
            self.state_entries,
        )  # fmt: skip
        return (*one, *(one if ntk else (1,) * 5), self.row_entries)

    def tail_stage(
        self,
        ops: tuple[int, int],
        rows: int,
        columns: int,
        first_variance: int,
        *,
        has_tangent: bool,
    ) -> NDArray[np.int64]:
        """Return layers behind the readout as a stage of single numbers, in place.

        Parameters
        ----------
        ops : (int, int)
            First op, and the one after the last.
        rows, columns : int
            Items, and vectors of other items.
        first_variance : int
            The first variance of these layers.
        has_tangent : bool
            Whether ``T`` is there, or still zero.

        Returns
        -------
        ndarray of int, (1, columns of stages)
            With one plane, (0, 0).
        """
        row = np.zeros((1, STAGE_COLUMNS), np.int64)
        row[0, :22] = [
            *ops, rows, columns, rows, columns, 1, 1, 0, 1, 0, BLOCK, 0, has_tangent,
            first_variance, 0, len(self.floats) - 2, -1, 1, 1, 0, self.tail_series,
        ]  # fmt: skip
        return row
