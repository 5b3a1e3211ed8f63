"""Which layer a value that is not finite comes from."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import NonFiniteKernelError
from gramserve.kernels.items import Items
from gramserve.kernels.precision import overflow
from gramserve.kernels.protocol import Engine
from gramserve.spec import KernelSpec, Precision


def blame(
    dense: Engine,
    spec: KernelSpec,
    sides: tuple[Items, Items],
    precision: Precision,
    gram: NDArray[Any],
    *,
    memory_bytes: int,
    corner: tuple[int, int] = (0, 0),
) -> NoReturn:
    """Have the reference engine find the layer at which the first bad pair goes wrong.

    Parameters
    ----------
    dense : Engine
        The reference engine, which looks at every layer's values.
    spec : KernelSpec
        The kernel.
    sides : (Items, Items)
        n row items and m column items.
    precision : {"float32", "mixed", "float64"}
        How they were computed.
    gram : ndarray, (n, m)
        Values, of which one at least is NaN or infinite.
    memory_bytes : int
        Temporary memory allowed, in bytes.
    corner : (int, int)
        Row and column of the block at which they begin.

    Raises
    ------
    NonFiniteKernelError
        Always; names the layer, or the result where no layer overflows by itself.
    """
    row, column = (int(index) for index in np.argwhere(~np.isfinite(gram))[0])
    one, other = sides[0][row : row + 1], sides[1][column : column + 1]
    pair = row + corner[0], column + corner[1]
    tries: tuple[Precision, ...] = (precision,)
    if precision == "mixed":
        # Of which the reference engine takes nothing in float32.
        tries = ("mixed", "float32")
    for each in tries:
        try:
            dense.evaluate(spec, one, other, each, memory_bytes=memory_bytes)
        except NonFiniteKernelError as error:
            where, kind = error.context["layer"], error.context["type"]
            raise overflow(where, kind, pair, precision) from None
    raise overflow("result", "result", pair, precision)
