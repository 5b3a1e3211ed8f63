"""Where the arrays of the dense recursion lie: in the host's memory, or on a card."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gramserve.arrays import Array, Device, OwnCard, Stream

_CACHED_BYTES = 2**20
"""Size of a state at which batches stop growing on the host: larger ones leave the cache."""

_DEVICE_STATE_BYTES = 2**28
"""The same on a card, where a state should be large against the time a launch takes."""

_SHARE = 0.8
"""Part of a card's free memory that a batch takes."""


@dataclass(frozen=True)
class Place:
    """The host, or a stream of a device."""

    device: Device | None = None
    stream: Stream | None = None

    @property
    def state_bytes(self) -> int:
        """Size of a state at which batches stop growing, in bytes."""
        return _CACHED_BYTES if self.device is None else _DEVICE_STATE_BYTES

    def room(self, memory_bytes: int) -> int:
        """Return the memory for temporaries, in bytes: what was allowed, or what a card has."""
        return memory_bytes if self.device is None else int(self.device.free_bytes() * _SHARE)

    def put(self, values: NDArray[Any]) -> Array:
        """Return an array as it has to be for the recursion: itself, or a copy on the device."""
        if self.device is None or self.stream is None:
            return values
        return self.device.upload(values, self.stream)


@contextmanager
def open_place(card: OwnCard | None) -> Iterator[Place]:
    """Open the host, or the card where there is one; inside, the card is this thread's alone.

    Parameters
    ----------
    card : OwnCard or None
        None for the host.

    Yields
    ------
    Place
        Inside the context, functions of the arrays' namespace belong to its stream.

    Raises
    ------
    DeviceMemoryError
        Out of memory inside.
    BlockError
        Any other fault of the device inside.
    """
    if card is None or card.missing() is not None:
        yield Place()
        return
    device = card.device()
    with card.turn, device.guard():
        stream = device.stream()
        with stream:
            yield Place(device, stream)
