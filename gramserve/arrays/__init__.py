"""Array libraries and the devices their arrays lie on: the only room that imports CuPy.

Engines ask here for the namespace of an array (NumPy, or CuPy where a card is used) and write
their mathematics once for both. Kernels of their own they hand to a :class:`Device` as source.
"""

from gramserve.arrays.device import Device, Module, Stream
from gramserve.arrays.host_memory import keep_freed_memory
from gramserve.arrays.inventory import Card, cuda_unavailable, find_cards, find_devices, open_card
from gramserve.arrays.namespaces import Array, namespace_of, special_functions_of, to_host
from gramserve.arrays.own_card import OwnCard

__all__ = [
    "Array",
    "Card",
    "Device",
    "Module",
    "OwnCard",
    "Stream",
    "cuda_unavailable",
    "find_cards",
    "find_devices",
    "keep_freed_memory",
    "namespace_of",
    "open_card",
    "special_functions_of",
    "to_host",
]
