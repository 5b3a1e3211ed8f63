"""Derivatives of a kernel of vectors: their names and the shapes of their arrays."""

from typing import Literal, get_args

from gramserve.errors import SpecError

Derivative = Literal["dx", "dx2", "dxdx2", "dxdx"]
"""What ``k(x, x')`` is differentiated by: the row item x, the column item x', both, or x twice."""

DERIVATIVES: tuple[Derivative, ...] = get_args(Derivative)
"""Every name, first derivatives first."""


def parse_derivative(name: str) -> Derivative:
    """Return the name of a derivative if it is one.

    Parameters
    ----------
    name : str
        What was asked for.

    Returns
    -------
    {"dx", "dx2", "dxdx2", "dxdx"}
        The same.

    Raises
    ------
    SpecError

    Examples
    --------
    >>> parse_derivative("dxdx2")
    'dxdx2'
    """
    for known in DERIVATIVES:
        if name == known:
            return known
    msg = f"derivative {name!r} is not known; known are {', '.join(DERIVATIVES)}"
    raise SpecError(msg, errors=[{"loc": "derivative", "message": msg}])


def derivative_order(derivative: Derivative) -> tuple[int, int]:
    """Return how often a derivative is taken by x and by x'.

    Parameters
    ----------
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Its name.

    Returns
    -------
    (int, int)
        Their sum is 1 or 2.

    Examples
    --------
    >>> derivative_order("dxdx2"), derivative_order("dxdx")
    ((1, 1), (2, 0))
    """
    return {"dx": (1, 0), "dx2": (0, 1), "dxdx2": (1, 1), "dxdx": (2, 0)}[derivative]


def derivative_shape(
    derivative: Derivative, rows: int, columns: int, length: int
) -> tuple[int, ...]:
    """Return the shape of a derivative of n row items and m column items.

    Parameters
    ----------
    derivative : {"dx", "dx2", "dxdx2", "dxdx"}
        Its name.
    rows, columns : int
        n and m.
    length : int
        D, the entries of an item.

    Returns
    -------
    tuple of int
        (n, m, D) for first derivatives, (n, m, D, D) for second ones.

    Examples
    --------
    >>> derivative_shape("dxdx", 10, 20, 3)
    (10, 20, 3, 3)
    """
    return (rows, columns) + (length,) * sum(derivative_order(derivative))
