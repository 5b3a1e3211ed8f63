"""How the tiles of an image are laid out in the registers of a warp."""

from dataclasses import dataclass

from gramserve.stages import Offset

_ROOM, _TANGENT_ROOM = 64, 48
"""Registers of 32 bits that a lane should give to S, or to S and T: with more, the compiler begins
to spill where it would still have registers left, or too few warps fit."""

_MOST = 128
"""What it can give."""


@dataclass(frozen=True)
class TileForm:
    """Rows in registers, columns in lanes."""

    rows: int
    lanes: int
    """Lanes of a tile."""
    columns: int
    """Columns of a lane."""

    @property
    def groups(self) -> int:
        """Tiles of a warp."""
        return 32 // self.lanes

    def cpp(self, scalar: str) -> str:
        """Return the C++ type."""
        return f"Shape<{scalar}, {self.rows}, {self.lanes}, {self.columns}>"


def choose_tile(
    positions: Offset, itemsize: int, *, copies: int, window: int | None = None
) -> TileForm | None:
    """Return how a tile is laid out, or None where it does not fit.

    Parameters
    ----------
    positions : (int, int)
        Height and width of the images.
    itemsize : int
        Bytes of a number.
    copies : int
        Tiles that are held at once: S, T, and what forks keep.
    window : int, optional
        Of a pool at the end; windows must not be cut by lanes.

    Returns
    -------
    TileForm or None
        The one that leaves fewest lanes idle; of these the one with most columns a lane, which
        share selects and exchange less, as long as registers leave room for other warps.
    """
    height, width = positions
    words = height * copies * itemsize // 4
    found = [
        TileForm(height, width // columns, columns)
        for columns in (1, 2, 4, 8)
        if width % columns == 0
        and width // columns <= 32
        and words * columns <= _MOST
        and (window is None or columns == 1 or columns % window == 0)
    ]

    def worth(form: TileForm) -> tuple[bool, float, int]:
        fits = words * form.columns <= (_ROOM if copies == 1 else _TANGENT_ROOM)
        used = form.groups * form.lanes / 32
        return fits, used, form.columns if fits else -form.columns

    return max(found, key=worth, default=None)
