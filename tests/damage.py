"""Ways in which files of blocks go bad."""


def truncate(path):
    """Cut the file in half, as a copy that was interrupted."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    """Leave the name without its content, as some file systems do after a power cut."""
    path.write_bytes(b"")


def zero(path):
    """Keep the length and lose the content."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path, place):
    """Turn one bit of the byte at a place, from the end when negative."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def flip_data(path):
    """Turn one bit of a value."""
    flip(path, 5)


def flip_index(path):
    """Turn one bit of the index."""
    flip(path, -10)


DAMAGES = (truncate, empty, zero, flip_data, flip_index)
