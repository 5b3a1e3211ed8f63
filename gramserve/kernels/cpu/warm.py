"""Compiling everything once, before anybody waits for it."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from gramserve.kernels.cpu.program import write_program
from gramserve.kernels.cpu.run import Room, aligned, my_side, your_side
from gramserve.kernels.cpu.self_pairs import record_variances
from gramserve.kernels.items import Items
from gramserve.spec import parse_kernel

_DTYPES = ("float32", "float64")


def compile_dtype(name: str) -> None:
    """Compile, or load from Numba's cache, what one dtype needs.

    Parameters
    ----------
    name : {"float32", "float64"}
        The dtype; variances of items belong to the second.
    """
    spec = parse_kernel({"layers": [{"type": "relu"}, {"type": "flatten"}]})
    dtype = np.dtype(name)
    items = Items(np.ones((1, 1, 1, 1)), np.ones((1, 1)), np.zeros(1))
    program = write_program(spec, (1, 1, 1), 1)
    room = Room(program, dtype, ntk=False)
    sides = (
        my_side(spec, program, items, slice(0, 1), dtype, ntk=False),
        your_side(spec, program, items, np.zeros(room.lanes, np.intp), dtype, ntk=False),
    )
    out = aligned((2, 1, room.lanes), dtype)
    room.evaluate((0, 1), *sides, aligned((1, room.lanes), dtype), (out[0], out[1]))
    if name == "float64":
        own = write_program(spec, (1, 1, 1), 1, for_variances=True)
        record_variances(spec, own, items.values, np.empty((1, 1)), 1)


def compile_all() -> None:
    """Compile for all dtypes, side by side in processes of their own, and load the results."""
    with ProcessPoolExecutor(len(_DTYPES), mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_dtype, _DTYPES))
    # Two processes may have written Numba's index at once: what it lacks is compiled here.
    for name in _DTYPES:
        compile_dtype(name)
