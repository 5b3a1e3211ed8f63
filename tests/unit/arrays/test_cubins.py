"""What was compiled once is found again, by its content and only whole."""

import pytest

from gramserve.arrays.cubins import cubin_of


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    made = []

    def make():
        made.append(len(made))
        return b"\x7fELF" + bytes(made)

    return made, make, tmp_path / "cache"


def test_equal_content_is_compiled_once(compiler):
    made, make, place = compiler
    key = ("source", ("-std=c++17",), "sm_90", (13, 0))
    first = cubin_of(key, make)
    assert cubin_of(key, make) == first
    for other in (("sauce", *key[1:]), (*key[:2], "sm_80", key[3]), (*key[:3], (13, 1))):
        assert cubin_of(other, make) != first
    assert made == [0, 1, 2, 3]
    assert len(list(place.iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", b"x" * 40])
def test_damaged_files_are_compiled_anew(compiler, damage):
    made, make, place = compiler
    cubin_of(("source",), make)
    (path,) = place.iterdir()
    path.write_bytes(damage)
    assert cubin_of(("source",), make) == b"\x7fELF\x00\x01"
    assert cubin_of(("source",), make) == b"\x7fELF\x00\x01"
    assert made == [0, 1]


def test_without_a_place_everything_is_compiled(compiler, monkeypatch, tmp_path):
    made, make, _ = compiler
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cubin_of(("source",), make)
    cubin_of(("source",), make)
    assert made == [0, 1]


def test_failures_leave_nothing(compiler):
    _, _, place = compiler

    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cubin_of(("source",), fail)
    assert not place.exists()
