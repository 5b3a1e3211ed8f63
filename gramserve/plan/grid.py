"""The grid of blocks over a Gram matrix."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gramserve.errors import PlanError, RowRangeError

BlockIndex = tuple[int, int]
"""Panel of the rows, panel of the columns."""


@dataclass(frozen=True)
class Grid:
    """An N x M matrix cut into blocks of B x B entries, ragged at the far edges.

    A symmetric matrix has canonical blocks ``i <= j`` only; block (j, i) is the transpose (the
    mirror) of block (i, j) and is never computed.

    Examples
    --------
    >>> grid = Grid(rows=5, columns=5, block_size=2, symmetric=True)
    >>> list(grid.blocks())
    [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    >>> grid.row_range(2)
    (4, 5)
    """

    rows: int
    """N."""
    columns: int
    """M."""
    block_size: int
    """B, in entries."""
    symmetric: bool
    """Whether rows and columns are the same items."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be cut."""
        for name in ("rows", "columns", "block_size"):
            value = getattr(self, name)
            if value < 1:
                msg = f"{name} must be at least 1, got {value}"
                raise PlanError(msg, errors=[{"loc": name, "message": msg}])
        if self.symmetric and self.rows != self.columns:
            msg = f"a symmetric matrix is square, got {self.rows} x {self.columns}"
            raise PlanError(msg)

    @property
    def row_panels(self) -> int:
        """Blocks along the rows."""
        return -(-self.rows // self.block_size)

    @property
    def column_panels(self) -> int:
        """Blocks along the columns."""
        return -(-self.columns // self.block_size)

    @property
    def block_count(self) -> int:
        """Canonical blocks: those that are computed."""
        if self.symmetric:
            return self.row_panels * (self.row_panels + 1) // 2
        return self.row_panels * self.column_panels

    @property
    def entry_count(self) -> int:
        """Entries of all canonical blocks."""
        if not self.symmetric:
            return self.rows * self.columns
        full, rest = divmod(self.rows, self.block_size)
        diagonal = full * self.block_size**2 + rest**2
        return (self.rows**2 + diagonal) // 2

    @property
    def item_visits(self) -> int:
        """Items of all canonical blocks, rows and columns; those of a diagonal block once."""
        if self.symmetric:
            return self.rows * self.row_panels
        return self.rows * self.column_panels + self.columns * self.row_panels

    def blocks(self) -> Iterator[BlockIndex]:
        """Yield every canonical block, row panel by row panel."""
        for i in range(self.row_panels):
            for j in range(i if self.symmetric else 0, self.column_panels):
                yield i, j

    def row_range(self, i: int) -> tuple[int, int]:
        """Return the half-open range of rows of panel ``i``."""
        return self._range(i, self.row_panels, self.rows)

    def column_range(self, j: int) -> tuple[int, int]:
        """Return the half-open range of columns of panel ``j``."""
        return self._range(j, self.column_panels, self.columns)

    def _range(self, panel: int, panels: int, length: int) -> tuple[int, int]:
        if not 0 <= panel < panels:
            msg = f"panel {panel} is outside 0 to {panels - 1}"
            raise RowRangeError(msg)
        start = panel * self.block_size
        return start, min(start + self.block_size, length)

    def shape_of(self, block: BlockIndex) -> tuple[int, int]:
        """Return rows and columns of a block, in entries."""
        (top, bottom), (left, right) = self.row_range(block[0]), self.column_range(block[1])
        return bottom - top, right - left

    def canonical(self, block: BlockIndex) -> BlockIndex:
        """Return the block that is computed for this one: itself, or the one it mirrors."""
        i, j = block
        return (j, i) if self.symmetric and j < i else (i, j)

    def blocks_for(
        self, rows: Iterable[int], columns: Iterable[int] | None = None
    ) -> set[BlockIndex]:
        """Return the canonical blocks that a read of these rows and columns touches.

        Parameters
        ----------
        rows : iterable of int
            Row indices, 0 to N - 1.
        columns : iterable of int, optional
            Column indices; all columns when None.

        Returns
        -------
        set of (int, int)
            Canonical blocks.
        """
        across = (
            set(range(self.column_panels))
            if columns is None
            else {column // self.block_size for column in columns}
        )
        return {
            self.canonical((i, j)) for i in {row // self.block_size for row in rows} for j in across
        }
