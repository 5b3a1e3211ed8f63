"""The device made of the CPU refuses what CUDA leaves undefined."""

import numpy as np
import pytest
from cuda_shim import Compiler, CompilerMissingError, ShimDevice

from gramserve.errors import BlockError, DeviceMemoryError

SOURCE = r"""
__constant__ float numbers[4];

extern "C" __global__ void __launch_bounds__(128) doubled(
    const float *__restrict__ x, double *__restrict__ y, const int factor) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __shfl_xor_sync(0xffffffffu, double(x[i]), 1) * factor;
}

// Every thread hands its number to its neighbour, with or without waiting.
extern "C" __global__ void rotate(const float *x, float *y, int wait) {
    GRAMSERVE_SHARED(memory);
    float *place = reinterpret_cast<float *>(memory);
    place[threadIdx.x] = x[threadIdx.x];
    if (wait == 2) __syncthreads();
    if (wait == 1) __syncwarp();
    y[blockIdx.x * blockDim.x + threadIdx.x] = place[(threadIdx.x + 1) % blockDim.x];
}

extern "C" __global__ void misuse(int how, int *y) {
    GRAMSERVE_SHARED(memory);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (how == 0 && lane != 7) __shfl_sync(0xffffffffu, lane, 0);
    if (how == 1 && warp != 1) __syncthreads();
    if (how == 2) lane < 9 ? __syncwarp() : void(__any_sync(0xffffffffu, 1));
    if (how == 3) __shfl_sync(0xffffu, lane, 0);
    if (how == 4) __shfl_sync(0xffffffffu, lane, 32);
    if (how == 5) y[0] = memory[64 + y[0]];
    if (how == 6) y[0] = 3 / y[1];
    if (how == 7 && lane < 16) __shfl_sync(0xffffu, lane, 16);
    if (how == 8) lane < 4 ? __syncthreads() : __syncwarp();
    if (how == 9) y[-1] = 4;
    if (how == 10) *reinterpret_cast<int4 *>(y) = *reinterpret_cast<int4 *>(memory + 4);
    int held[4] = {1, 2, 3, 4};
    if (how == 11) y[0] = held[y[0] + 4];
}
"""

FLOATS, DOUBLES = np.zeros(32, np.float32), np.zeros(32)


@pytest.fixture(scope="module", params=[False, True], ids=["forward", "backward"])
def device(request):
    return ShimDevice(backward=request.param)


@pytest.fixture(scope="module")
def module(device):
    return device.compile(SOURCE)


def ran(device, module, name, grid, block, arguments, **options):
    stream = device.stream()
    values = [
        device.upload(value, stream) if isinstance(value, np.ndarray) else value
        for value in arguments
    ]
    module.launch(name, grid, block, values, stream=stream, **options)
    return values


@pytest.mark.parametrize("wait", [0, 1, 2])
def test_a_missing_barrier_shows(device, module, wait):
    x = np.arange(64, dtype=np.float32)
    arguments = [x, np.zeros(128, np.float32), np.int32(wait)]
    _, y, _ = ran(device, module, "rotate", 2, 64, arguments, shared_bytes=256)
    assert device.launches[-1] == ("rotate", 2, 64, 256)
    assert np.array_equal(y, np.tile(np.roll(x, -1), 2)) == (wait == 2)
    assert np.isnan(y).any() == (wait < 2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (0, r"wait .* lanes ffffff7f wait at __shfl_sync .* lanes 00000080 have returned"),
        (1, r"warp 0: lanes ffffffff wait at __syncthreads; 1 warps have returned"),
        (2, r"__any_sync .* meets lane \d+ at __syncwarp|__syncwarp .* meets lane \d+ at __any"),
        (3, "does not name the calling lane"),
        (4, "from lane 32 of 32"),
        (5, "not its own"),
        (6, "zero"),
        (7, "reads lane 16, which the mask does not name"),
        (8, r"lanes 0000000f wait at __syncthreads"),
        (9, "wrote outside an array"),
        (10, "misaligned access"),
        (11, "index outside an array"),
    ],
)
def test_misuse_is_an_error_and_not_a_hang(device, module, how, message):
    y = np.zeros(3, np.int32)
    with pytest.raises(BlockError, match=message):
        ran(device, module, "misuse", 1, 64, [np.int32(how), y], shared_bytes=64)
    # The device lives on.
    x = np.arange(32, dtype=np.float32)
    ran(device, module, "doubled", 1, 32, [x, np.zeros(32), np.int32(1)])


def test_reads_past_the_end_name_the_argument(device, module):
    x = np.zeros(100, np.float32)
    with pytest.raises(BlockError, match=r"byte (400|508) of argument 0, which has 400"):
        ran(device, module, "doubled", 1, 128, [x, np.zeros(128), np.int32(0)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([FLOATS, DOUBLES], "takes 3 arguments, not 2"),
        ([FLOATS, DOUBLES, 1], "NumPy scalar of i4 is wanted, not int"),
        ([FLOATS, DOUBLES, np.int64(1)], "argument 2: i4 is wanted, not int64"),
        ([FLOATS, FLOATS, np.int32(1)], "argument 1: an array of f8 is wanted, not of float32"),
        ([np.zeros(64, np.float32)[::2], DOUBLES, np.int32(1)], "not C-contiguous"),
        ([np.float32(1), DOUBLES, np.int32(1)], "array of f4 is wanted"),
    ],
)
def test_arguments_have_the_types_of_the_parameters(device, module, arguments, message):
    with pytest.raises(BlockError, match=message):
        module.launch("doubled", 1, 32, arguments, stream=device.stream())


def test_launches_stay_inside_the_limits(device, module):
    for grid, block, shared in ((0, 32, 0), (1, 48, 0), (1, 160, 0), (1, 32, 10**6)):
        with pytest.raises(BlockError):
            module.launch(
                "doubled",
                grid,
                block,
                [FLOATS, DOUBLES, np.int32(1)],
                shared_bytes=shared,
                stream=device.stream(),
            )
    with pytest.raises(BlockError, match="no kernel 'dubled'; it has"):
        module.launch("dubled", 1, 32, [], stream=device.stream())


def test_constants_come_before_launches_and_fit(device):
    module = device.compile(SOURCE)
    with pytest.raises(BlockError, match="numbers has 16 bytes, and 20 bytes"):
        module.set_constants("numbers", np.zeros(5, np.float32))
    ran(device, module, "doubled", 1, 32, [FLOATS, DOUBLES, np.int32(1)])
    with pytest.raises(BlockError, match="after a launch"):
        module.set_constants("numbers", np.zeros(1, np.float32))


def test_memory_is_bounded_poisoned_and_given_back():
    device = ShimDevice(10_000)
    first = device.allocate((10, 100), np.float32)
    assert device.free_bytes() == 6_000
    assert np.isnan(first).all()
    with pytest.raises(DeviceMemoryError, match="6000 bytes left of 10000"):
        device.allocate(2_000, np.float64)
    part = first[3]
    del first
    assert device.free_bytes() == 6_000
    del part
    assert device.free_bytes() == 10_000
    assert device.memory.most_used == 4_000


def test_downloads_arrive_when_the_stream_is_synchronized():
    device = ShimDevice()
    stream = device.stream()
    array = device.upload(np.arange(5.0), stream)
    into = np.zeros(5)
    device.download(array, into, stream)
    array[...] = 0
    assert np.isnan(into).all()
    stream.synchronize()
    np.testing.assert_array_equal(into, np.arange(5.0))


def test_the_log_of_the_compiler_is_in_the_error():
    with pytest.raises(BlockError, match=r"source.cu:2:.*undeclared_name"):
        ShimDevice().compile('extern "C" __global__ void f(int *x) {\n x[0] = undeclared_name; }')


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerMissingError, match=r"no-such-compiler.*apt-get install g\+\+"):
        ShimDevice().compile('extern "C" __global__ void f() {}')


def test_other_processors_switch_stacks_by_the_c_library():
    device = ShimDevice(compiler=Compiler(flags=("-DGRAMSERVE_SHIM_UCONTEXT",)))
    module = device.compile(SOURCE)
    x = np.arange(256, dtype=np.float32)
    _, y, _ = ran(device, module, "doubled", 2, 128, [x, np.zeros(256), np.int32(2)])
    np.testing.assert_array_equal(y, 2 * (np.arange(256) ^ 1))
    with pytest.raises(BlockError, match="wait for each other"):
        ran(device, module, "misuse", 1, 64, [np.int32(0), np.zeros(3, np.int32)])
