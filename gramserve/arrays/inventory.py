"""Which cards this process can use, and if none, why."""

import os
from dataclasses import dataclass

from gramserve.arrays.device import OLDEST_CAPABILITY, Device

_INSTALL = "pip install 'gramserve[cuda]'"
_NO_DRIVER = frozenset({34, 35})
_NO_CARD = 100


@dataclass(frozen=True)
class Card:
    """A card that this process could use; knowing it takes no memory of it."""

    index: int
    """Its number among those that ``CUDA_VISIBLE_DEVICES`` leaves."""
    name: str
    """What its maker calls it."""
    visible: str
    """What ``CUDA_VISIBLE_DEVICES`` is for a process that is to see this card alone."""


def cuda_unavailable() -> str | None:
    """Say why there is no card to compute on, or return None if there is one.

    Asks the driver, which then is part of this process: processes forked later cannot use a card.
    Cards are those that ``CUDA_VISIBLE_DEVICES`` leaves.

    Returns
    -------
    str or None
        One line that names what is missing and the remedy.
    """
    return _missing_library() or _missing_card()


def _missing_library() -> str | None:
    try:
        import cupy  # noqa: PLC0415

        cupy.cuda.nvrtc.getVersion()
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return f"CuPy is not installed: {_INSTALL}"
        return f"CuPy is not complete ({_one_line(error)}): {_INSTALL}"
    except Exception as error:
        # How a library that cannot be loaded shows differs from version to version.
        return f"a library of CUDA is missing ({_one_line(error)}): {_INSTALL}"
    return None


def _missing_card() -> str | None:
    import cupy  # noqa: PLC0415

    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status in _NO_DRIVER:
            return f"no driver for NVIDIA cards that is new enough for CuPy {cupy.__version__}"
        if error.status != _NO_CARD:
            return f"CUDA does not start: {_one_line(error)}"
        count = 0
    if count == 0:
        return "no NVIDIA card, or CUDA_VISIBLE_DEVICES hides it"
    best = max(int(cupy.cuda.Device(index).compute_capability) for index in range(count))
    if best < OLDEST_CAPABILITY:
        return (
            f"the best card here has compute capability {best / 10:.1f}, and "
            f"{OLDEST_CAPABILITY / 10:.1f} (Ampere) or later is needed"
        )
    return None


def find_cards() -> list[Card]:
    """Return the cards of this process without opening them; none if there is none.

    Returns
    -------
    list of Card
        Those with compute capability 8.0 or later, in the order of CUDA.
    """
    if cuda_unavailable() is not None:
        return []
    import cupy  # noqa: PLC0415

    runtime = cupy.cuda.runtime
    count = runtime.getDeviceCount()
    tokens = visible_tokens(count)
    return [
        Card(index, runtime.getDeviceProperties(index)["name"].decode(), tokens[index])
        for index in range(count)
        if int(cupy.cuda.Device(index).compute_capability) >= OLDEST_CAPABILITY
    ]


def visible_tokens(count: int) -> list[str]:
    """Return how ``CUDA_VISIBLE_DEVICES`` names each card of this process.

    Parameters
    ----------
    count : int
        Cards that CUDA counts.

    Returns
    -------
    list of str
        The first entries of the variable where it is set (numbers, or the UUIDs of cards and of
        MIG instances), else the numbers from 0 on.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(index) for index in range(count)]
    return [token.strip() for token in given.split(",")][:count]


def open_card(card: Card) -> Device:
    """Return a card as a device; takes some memory of it.

    Parameters
    ----------
    card : Card
        From :func:`find_cards`.

    Returns
    -------
    Device
        Ready for compiling, memory and streams.
    """
    from gramserve.arrays.cuda_device import CudaDevice  # noqa: PLC0415

    return CudaDevice(card.index)


def find_devices() -> list[Device]:
    """Return the cards of this process as devices, in the order of CUDA; none if there is none.

    Returns
    -------
    list of Device
        Those of :func:`find_cards`, all opened.
    """
    return [open_card(card) for card in find_cards()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
