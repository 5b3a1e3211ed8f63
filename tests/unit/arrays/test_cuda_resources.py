"""What the compiler of CUDA says of sources, without a card."""

import pytest
from cuda_resources import ARCHITECTURES, compile_for

from gramserve.errors import BlockError

SOURCE = r"""
__constant__ double numbers[25];

template <int count>
__device__ __forceinline__ float mixed(const float *x, int step) {
    float held[count], sum = 0;
#pragma unroll
    for (int i = 0; i < count; ++i) held[i] = x[i * step];
#pragma unroll
    for (int round = 0; round < 4; ++round) {
#pragma unroll
        for (int i = 0; i < count; ++i) held[i] = fmaf(held[(i * 7 + 3) % count], held[i], sum);
        sum += held[round];
    }
#pragma unroll
    for (int i = 0; i < count; ++i) sum += held[i];
    return sum;
}

// 1024 threads leave 64 registers to each, and 120 numbers do not fit into those.
extern "C" __global__ void __launch_bounds__(1024) spills(const float *x, float *y, int step) {
    y[threadIdx.x] = mixed<120>(x, step);
}

extern "C" __global__ void __launch_bounds__(128) fits(const float *x, float *y, int step) {
    __shared__ float part[64];
    part[threadIdx.x & 63] = float(numbers[step]);
    __syncthreads();
    y[threadIdx.x] = mixed<20>(x, step) + part[step];
}

// An array that is indexed by a number known at run time only lies in memory.
extern "C" __global__ void indexes(const float *x, float *y, int step) {
    float held[32];
    for (int i = 0; i < 32; ++i) held[(i * step) & 31] = x[i];
    y[threadIdx.x] = held[step];
}
"""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def compiled(request):
    return compile_for(SOURCE, request.param)


def test_spills_are_seen(compiled):
    spills = compiled.kernels["spills"]
    assert spills.registers == 64
    assert spills.spill_stores > 0
    assert spills.spill_loads > 0
    assert spills.stack >= spills.spill_stores // 2


def test_what_fits_neither_spills_nor_has_a_stack(compiled):
    fits = compiled.kernels["fits"]
    assert 20 <= fits.registers < 64
    assert (fits.stack, fits.spill_stores, fits.spill_loads) == (0, 0, 0)
    assert fits.static_shared == 256


def test_arrays_in_memory_are_seen(compiled):
    indexes = compiled.kernels["indexes"]
    assert indexes.stack == 128
    assert indexes.spill_stores == 0


def test_constants_are_counted(compiled):
    assert compiled.constant == 200
    assert compiled.warnings == ""
    assert compiled.cubin.startswith(b"\x7fELF")
    assert set(compiled.kernels) == {"spills", "fits", "indexes"}


def test_a_source_without_constants_has_none():
    compiled = compile_for('extern "C" __global__ void f(int *x) { x[0] = 1; }', "sm_90")
    assert compiled.constant == 0


def test_warnings_are_kept():
    source = 'extern "C" __global__ void f(int *x) { int unused; x[0] = 1; }'
    assert "unused" in compile_for(source, "sm_80").warnings


def test_faults_name_the_line():
    with pytest.raises(BlockError, match=r'source.cu\(2\): error: identifier "y" is undefined'):
        compile_for('extern "C" __global__ void f(int *x) {\n x[0] = y; }', "sm_80")


def test_the_standard_library_is_out_of_reach():
    with pytest.raises(BlockError, match="could not open source file"):
        compile_for("#include <cmath>\n", "sm_80")
