"""Which cards this process can use, and if none, why."""

from gramserve.arrays.device import OLDEST_CAPABILITY, Device

_INSTALL = "pip install 'gramserve[cuda]'"
_NO_DRIVER = frozenset({34, 35})
_NO_CARD = 100


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


def find_devices() -> list[Device]:
    """Return the cards of this process, in the order of CUDA; none if there is none.

    Returns
    -------
    list of Device
        Those with compute capability 8.0 or later, each with its number in the order that
        ``CUDA_VISIBLE_DEVICES`` gives.
    """
    if cuda_unavailable() is not None:
        return []
    import cupy  # noqa: PLC0415

    from gramserve.arrays.cuda_device import CudaDevice  # noqa: PLC0415

    return [
        CudaDevice(index)
        for index in range(cupy.cuda.runtime.getDeviceCount())
        if int(cupy.cuda.Device(index).compute_capability) >= OLDEST_CAPABILITY
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
