"""The array library: NumPy arrays pass through untouched, memory is known and reused."""

import resource
import sys

import numpy as np
import pytest

from gramserve.arrays import keep_freed_memory, namespace_of, special_functions_of, to_host
from gramserve.machine import physical_memory_bytes, usable_cores


@pytest.mark.parametrize("array", [np.ones(3), np.ones(3, np.float32)[::2], [1, 2], 3.0])
def test_what_is_not_on_a_device_belongs_to_numpy(array):
    assert namespace_of(array) is np


def test_special_functions_of_host_arrays_keep_single_precision():
    z = np.linspace(-3, 3, 5, dtype=np.float32)
    assert special_functions_of(z).ndtr(z).dtype == np.float32


def test_host_arrays_are_not_copied():
    array = np.arange(3)
    assert to_host(array) is array


def test_memory_is_a_plausible_number_of_bytes():
    assert 2**27 < physical_memory_bytes() < 2**50
    assert 1 <= usable_cores() <= 2**16


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is one of glibc")
def test_temporaries_reuse_the_memory_of_freed_ones():
    if not keep_freed_memory():
        pytest.skip("the C library has no mallopt")

    def touch():
        return np.ones(8 * 2**20, np.uint8).sum()

    touch()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        touch()
    pages = 8 * 2**20 // resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < 2 * pages
