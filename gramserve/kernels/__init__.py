"""The mathematics: dual activations, layer operators and the engines that walk them.

Pure functions of arrays; no files, no network. Needs NumPy, SciPy, Numba and the spec room.
"""

from gramserve.kernels.derivatives import (
    PIECE_BYTES,
    Directions,
    check_differentiable,
    differentiate_in_pieces,
    differentiate_kernel,
    pair_bytes,
)
from gramserve.kernels.engine import (
    ENGINES,
    choose_engine,
    describe_engines,
    make_engines,
    warm_engines,
)
from gramserve.kernels.items import Items, check_dtype, check_items, item_keys, read_items
from gramserve.kernels.precision import result_dtype
from gramserve.kernels.protocol import Engine
from gramserve.kernels.reference import ReferenceEngine
from gramserve.spec import read_ckn_layers, read_neural_kernels_config

__all__ = [
    "ENGINES",
    "PIECE_BYTES",
    "Directions",
    "Engine",
    "Items",
    "ReferenceEngine",
    "check_differentiable",
    "check_dtype",
    "check_items",
    "choose_engine",
    "describe_engines",
    "differentiate_in_pieces",
    "differentiate_kernel",
    "item_keys",
    "make_engines",
    "pair_bytes",
    "read_ckn_layers",
    "read_items",
    "read_neural_kernels_config",
    "result_dtype",
    "warm_engines",
]
