import io
from pathlib import Path

import numpy as np
import pytest

from gramserve.errors import InvalidDataError, StoreError, UnsupportedDtypeError
from gramserve.store import open_npy
from gramserve.store.npy import read_npy_header


def saved(path: Path, values: np.ndarray, version: tuple[int, int] | None = None) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array(file, values, version=version, allow_pickle=True)
    return path


def header(text: str, version: int = 1) -> bytes:
    width = 2 if version == 1 else 4
    raw = text.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(raw).to_bytes(width, "little") + raw


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i1", ">u2", "?", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_what_numpy_writes(
    tmp_path: Path, version: tuple[int, int], dtype: str, order: str
) -> None:
    values = np.asarray(np.arange(24).reshape(4, 3, 2) % 2, dtype=dtype, order=order)
    found = open_npy(saved(tmp_path / "x.npy", values, version))
    assert found.dtype == values.dtype
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.array([[b"a"]]),
        np.array([[{}]], object),
        np.zeros((2, 2), [("x", "f4")]),
        np.zeros((2, 2), "M8[s]"),
        np.zeros((2, 2), "m8[s]"),
        np.zeros((2, 2), "V4"),
    ],
)
def test_no_real_numbers(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(UnsupportedDtypeError, match="real numbers"):
        open_npy(saved(tmp_path / "x.npy", values))


@pytest.mark.parametrize(("change", "size"), [(-1, 159), (-150, 10), (5, 165)])
def test_another_length_gives_both_numbers(tmp_path: Path, change: int, size: int) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((4, 8), "u1"))
    data = path.read_bytes()
    assert len(data) == 160
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    if size < 128:
        with pytest.raises(InvalidDataError, match="ends inside its header"):
            open_npy(path)
    else:
        with pytest.raises(InvalidDataError, match=f"{size} bytes, and its header asks for 160"):
            open_npy(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMP",
        b"PK\x03\x04" + bytes(100),
        b"\x93NUMPY\x04\x00" + bytes(100),
        b"\x93NUMPY\x01\x00\x10",
        b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f",
        header("{'descr': '<f4', 'fortran_order': False}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}"),
        header("{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': [2]}"),
        header("{'descr': '<f3', 'fortran_order': False, 'shape': (2,)}"),
        header("{'descr': '<f4,<f4', 'fortran_order': False, 'shape': (2,)}"),
        header("__import__('os').system('false')"),
        header("(" * 5000),
        header("\x00"),
        header("1" * 9000),
    ],
)
def test_what_is_no_npy(data: bytes) -> None:
    with pytest.raises((InvalidDataError, UnsupportedDtypeError)):
        read_npy_header(io.BytesIO(data))


def test_absurd_shapes_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**62}, {2**62})}}")
    )
    with pytest.raises(InvalidDataError, match="cut short"):
        open_npy(path)


def test_no_items_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="no items"):
        open_npy(saved(tmp_path / "x.npy", np.zeros((0, 3))))
    with pytest.raises(StoreError, match=r"none\.npy"):
        open_npy(tmp_path / "none.npy")
    with pytest.raises(StoreError):
        open_npy(tmp_path)
