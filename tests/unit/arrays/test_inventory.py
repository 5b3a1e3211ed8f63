"""Whether there is a card, and what the errors of one mean."""

import subprocess
import sys
from pathlib import Path

import pytest

from gramserve.arrays import cuda_unavailable, find_devices
from gramserve.arrays.device_errors import device_guard, translated
from gramserve.errors import (
    BlockError,
    DeviceLostError,
    DeviceMemoryError,
    EngineUnavailableError,
)


def test_cards_are_there_or_it_is_said_why_not():
    reason = cuda_unavailable()
    devices = find_devices()
    assert (reason is None) == bool(devices)
    for device in devices:
        assert device.architecture.startswith("sm_")
        assert device.multiprocessors > 0
    if reason is not None:
        assert "\n" not in reason


def test_without_cupy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cuda_unavailable() == "CuPy is not installed: pip install 'gramserve[cuda]'"
    assert find_devices() == []


def test_hidden_cards_are_no_cards():
    """Where there is no card at all, another reason comes first; none must be an exception."""
    code = "from gramserve.arrays import cuda_unavailable; print(cuda_unavailable())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() != "None"


def test_the_room_imports_no_cupy_by_itself():
    code = "import sys; sys.modules['cupy'] = None; import gramserve.arrays"
    subprocess.run([sys.executable, "-c", code], check=True)


def cupy_error(name, bases, status=None, module="cupy_backends.cuda.api.runtime"):
    """Return an exception as CuPy 14 raises it, which need not be installed here."""
    kind = type(name, bases, {"__module__": module})
    error = kind(f"{name} {status}")
    if status is not None:
        error.status = status
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (cupy_error("OutOfMemoryError", (MemoryError,)), DeviceMemoryError, "smaller batches"),
        (cupy_error("CUDARuntimeError", (RuntimeError,), 2), DeviceMemoryError, "out of memory"),
        (cupy_error("CUDADriverError", (RuntimeError,), 2), DeviceMemoryError, "out of memory"),
        (cupy_error("CUBLASError", (RuntimeError,), 3), DeviceMemoryError, "out of memory"),
        (cupy_error("CUBLASError", (RuntimeError,), 2), BlockError, "device failed"),
        (cupy_error("CUDARuntimeError", (RuntimeError,), 700), DeviceLostError, "start it again"),
        (cupy_error("CUDADriverError", (RuntimeError,), 701), BlockError, "device failed"),
        (cupy_error("CUDARuntimeError", (RuntimeError,), 101), EngineUnavailableError, "no such"),
        (cupy_error("CompileException", (Exception,)), BlockError, "refuses the source"),
        (ImportError("libcublas.so.13"), EngineUnavailableError, r"libcublas.so.13.*\[cuda\]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_of_the_device_become_ours(error, kind, words):
    with pytest.raises(kind, match=words) as caught, device_guard():
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), BlockError("x"), KeyError("x")])
def test_other_errors_are_left_alone(error):
    assert translated(error) is None
    with pytest.raises(type(error)) as caught, device_guard():
        raise error
    assert caught.value is error
