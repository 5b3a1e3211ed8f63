"""Windows along one axis, against the definition of a tap."""

import doctest
import itertools

import numpy as np
import pytest

from gramserve.kernels import taps
from gramserve.kernels.taps import Window, sum_taps, tap_slices

WINDOWS = [
    (Window(size, outputs, stride, low, dilation, fill), length)
    for size, outputs, stride, low, dilation, fill, length in itertools.product(
        (1, 2, 3), (1, 4), (1, 2, 3), (0, 1, 4), (1, 2), (1, 2, 3), (1, 5)
    )
]


def reads(window, tap, length):
    """(output, input) of a tap, by trying every output."""
    found = []
    for output in range(window.outputs):
        index, rest = divmod(
            window.stride * output + window.dilation * tap - window.low, window.fill
        )
        if rest == 0 and 0 <= index < length:
            found.append((output, index))
    return found


def test_slices_are_what_the_tap_reads():
    for window, length in WINDOWS:
        for tap in range(window.size):
            outputs, inputs = tap_slices(window, tap, length)
            found = zip(range(window.outputs)[outputs], range(length)[inputs], strict=True)
            assert list(found) == reads(window, tap, length), (window, tap, length)


@pytest.mark.parametrize("sides", [(1,), (0, 2)])
def test_sums_add_what_the_taps_read_and_leave_the_input_alone(sides):
    rng = np.random.default_rng(0)
    for window, length in WINDOWS:
        array = rng.normal(size=(length, length, length))
        before = array.copy()
        wanted = np.zeros([window.outputs if axis in sides else length for axis in range(3)])
        for tap in range(window.size):
            # Sides move together through the taps, each with outputs of its own.
            for pairs in itertools.product(reads(window, tap, length), repeat=len(sides)):
                to, source = [slice(None)] * 3, [slice(None)] * 3
                for side, (output, index) in zip(sides, pairs, strict=True):
                    to[side], source[side] = output, index
                wanted[tuple(to)] += array[tuple(source)]
        found = sum_taps(array, sides, window)
        assert np.allclose(found, wanted, atol=1e-14), window
        assert np.array_equal(array, before)
        assert not np.shares_memory(found, array)


def test_circular_windows_wrap():
    array = np.arange(5.0)
    window = Window(size=3, outputs=5, low=1, is_circular=True)
    assert sum_taps(array, (0,), window).tolist() == [5, 3, 6, 9, 7]


def test_examples_in_the_docstrings_run():
    assert doctest.testmod(taps).failed == 0
