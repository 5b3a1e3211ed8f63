"""The one card that a process computes on, looked for when it is needed first."""

import os
import threading

from gramserve.arrays.device import Device
from gramserve.arrays.inventory import cuda_unavailable, find_cards, open_card
from gramserve.errors import EngineUnavailableError


class OwnCard:
    """The first card that ``CUDA_VISIBLE_DEVICES`` leaves, or the device that is given.

    Making one costs nothing and imports nothing; what it finds is kept. A process that was forked
    from one that had looked for a card has none, because drivers do not survive a fork.

    Parameters
    ----------
    device : Device, optional
        Instead of a card.

    Attributes
    ----------
    turn : threading.Lock
        Held by the thread whose work is on the card: threads of a process follow each other.
    """

    def __init__(self, device: Device | None = None) -> None:
        self._device = device
        self._lock = threading.Lock()
        self.turn = threading.Lock()
        self._process = os.getpid()
        self._found: tuple[str | None] | None = None if device is None else (None,)

    def missing(self) -> str | None:
        """Return why there is no card to compute on, or None; asks the driver once."""
        if self._found is None:
            self._found, self._process = (cuda_unavailable(),), os.getpid()
        reason = self._found[0]
        if reason is None and self._process != os.getpid():
            return (
                "this process was forked from one that had looked for a card, and cannot use it: "
                'start processes by the method "spawn"'
            )
        return reason

    @property
    def name(self) -> str | None:
        """What the card's maker calls it; None without one. Takes no memory of it."""
        if self.missing() is not None:
            return None
        return find_cards()[0].name if self._device is None else self._device.name

    def device(self) -> Device:
        """Return the device; the first call takes some memory of the card.

        Raises
        ------
        EngineUnavailableError
            There is none; says why.
        """
        reason = self.missing()
        if reason is not None:
            raise EngineUnavailableError(reason)
        with self._lock:
            if self._device is None:
                self._device = open_card(find_cards()[0])
            return self._device
