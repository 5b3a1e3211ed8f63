"""How the tiles of an image are laid out in the registers of a warp."""

from dataclasses import dataclass

from gramserve.stages import Offset

STAGE_WARPS = 4
"""Warps of a block of threads, as ``stage.cuh`` has it."""

_ROOM, _TANGENT_ROOM = 32, 48
"""Registers of 32 bits that a lane should give to S, or to S and T: with more, too few warps fit,
and a lane with several columns loads with gaps, of which the cache has only so many a cycle."""

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
        share selects and exchange less, as long as registers leave room for other warps, or else
        the one with fewest.
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


def window_bytes(tile: TileForm, window: int, itemsize: int, *, tangent: bool) -> int:
    """Return the shared memory in which a block of threads adds up windows, in bytes.

    Parameters
    ----------
    tile : TileForm
        How tiles lie in lanes.
    window : int
        Positions of a window along each axis.
    itemsize : int
        Bytes of a number.
    tangent : bool
        Whether there is T.

    Returns
    -------
    int
        ``Windows::BYTES`` of ``pool.cuh``.
    """
    down = tile.rows // window
    # With one column a lane, only lanes with which a window begins have places.
    is_spread = tile.columns == 1
    across = -(-32 // window) if is_spread else 32 * (tile.columns // window)
    return STAGE_WARPS * 2 * 2 * (1 + tangent) * down * across * itemsize
