import numpy as np

from gramserve.store.checksums import crc32c, crc32c_bytes, is_intact


def test_known_values() -> None:
    # RFC 3720, appendix B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


def test_any_buffer() -> None:
    values = np.arange(100, dtype="float32")
    whole = crc32c(values.tobytes())
    assert crc32c(values) == whole
    assert crc32c(memoryview(bytearray(values.tobytes()))) == whole


def test_is_intact() -> None:
    stored = b"abc" + crc32c_bytes(b"abc")
    assert is_intact(stored)
    assert not is_intact(b"abd" + stored[3:])
    assert not is_intact(stored[:-1])
    assert not is_intact(b"abc")
    assert is_intact(crc32c_bytes(b""))
    assert not is_intact(b"")
