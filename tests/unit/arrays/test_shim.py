"""The device of the tests does what CUDA does, and refuses what CUDA leaves undefined."""

import numpy as np
import pytest
from cuda_shim import Compiler, CompilerMissingError, ShimDevice

from gramserve.arrays import Device
from gramserve.errors import BlockError, DeviceMemoryError

SOURCE = r"""
#ifndef GRAMSERVE_SHARED
#define GRAMSERVE_SHARED(name) extern __shared__ __align__(16) unsigned char name[];
#endif
__constant__ float numbers_f32[4];
__constant__ double numbers_f64[4];

namespace gramserve {
template <typename T>
__device__ __forceinline__ T shifted(T value, int by) {
    return __shfl_sync(0xffffffffu, value, (int(threadIdx.x) + by) & 31);
}
}  // namespace gramserve

extern "C" __global__ void __launch_bounds__(128) shift(
    const float *__restrict__ x, double *__restrict__ y, const int by) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = gramserve::shifted(double(x[i]), by);
}

extern "C" __global__ void gather(const int *source, const float *x, float *y, int *z) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __shfl_sync(0xffffffffu, x[i], source[i]);
    const int up = __shfl_up_sync(0xffffffffu, int(i), 3, 8);
    z[i] = __shfl_xor_sync(0xffffffffu, int(i), 5) * 100 + up;
}

extern "C" __global__ void votes(const int *x, unsigned *y) {
    const int even = x[threadIdx.x] % 2 == 0;
    const unsigned among = __ballot_sync(0xffffffffu, even);
    // Half a warp on its own.
    const unsigned half = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
    y[threadIdx.x] = among ^ unsigned(__any_sync(half, even) << 1 | __all_sync(half, even));
}

// Sums over the block: each warp by shuffles, then all warps through shared memory.
extern "C" __global__ void sums(const double *x, double *y) {
    GRAMSERVE_SHARED(memory);
    double *partial = reinterpret_cast<double *>(memory);
    double sum = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (unsigned w = 0; w < blockDim.x / 32; ++w) total += partial[w];
        y[blockIdx.x] = total;
    }
}

// Every thread hands its number to its neighbour, with or without waiting.
extern "C" __global__ void rotate(const float *x, float *y, int wait) {
    GRAMSERVE_SHARED(memory);
    float *place = reinterpret_cast<float *>(memory);
    place[threadIdx.x] = x[threadIdx.x];
    if (wait) __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = place[(threadIdx.x + 1) % blockDim.x];
}

extern "C" __global__ void scaled(const float2 *x, float *y, bool twice) {
    const float2 pair = x[threadIdx.x];
    y[threadIdx.x] = (pair.x + pair.y) * numbers_f32[0] * float(numbers_f64[1]) * (twice ? 2 : 1);
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
}
"""


@pytest.fixture(scope="module", params=[False, True], ids=["forward", "backward"])
def device(request):
    return ShimDevice(backward=request.param)


@pytest.fixture(scope="module")
def module(device):
    module = device.compile(SOURCE)
    module.set_constants("numbers_f32", np.array([3], np.float32))
    module.set_constants("numbers_f64", np.array([0.0, 0.5]))
    return module


def ran(device, module, name, grid, block, arguments, result, **options):
    stream = device.stream()
    with stream:
        values = [
            device.upload(value, stream) if isinstance(value, np.ndarray) else value
            for value in arguments
        ]
    module.launch(name, grid, block, values, stream=stream, **options)
    found = np.empty_like(arguments[result])
    device.download(values[result], found, stream)
    stream.synchronize()
    return found


def test_it_is_a_device():
    def accepts(device: Device) -> str:
        return device.architecture

    assert accepts(ShimDevice()).startswith("sm_")


@pytest.mark.parametrize("by", [-1, 0, 1, 13])
def test_shuffles_rotate_a_warp(device, module, by):
    x = np.arange(3 * 128, dtype=np.float32)
    y = ran(device, module, "shift", 3, 128, [x, np.zeros(x.size), np.int32(by)], 1)
    np.testing.assert_array_equal(y, np.roll(x.reshape(-1, 32), -by, axis=1).ravel())


def test_lanes_may_ask_for_any_lane(device, module):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 32, 192, dtype=np.int32)
    x = rng.normal(size=192).astype(np.float32)
    lane = np.arange(192)
    arguments = [source, x, np.zeros_like(x), np.zeros(192, np.int32)]
    y = ran(device, module, "gather", 3, 64, arguments, 2)
    np.testing.assert_array_equal(y, x[lane // 32 * 32 + source])
    z = ran(device, module, "gather", 3, 64, arguments, 3)
    up = np.where(lane % 8 < 3, lane, lane - 3)
    np.testing.assert_array_equal(z, (lane ^ 5) * 100 + up)


def test_votes_of_warps_and_of_half_warps(device, module):
    x = np.arange(64, dtype=np.int32) * 2
    x[3] = 1
    x[48:] = 1
    even = x % 2 == 0
    y = ran(device, module, "votes", 1, 64, [x, np.zeros(64, np.uint32)], 1)
    for i in range(64):
        warp, half = even[i // 32 * 32 :][:32], even[i // 16 * 16 :][:16]
        among = sum(1 << lane for lane in range(32) if warp[lane])
        assert y[i] == among ^ (int(half.any()) << 1 | int(half.all())), i


@pytest.mark.parametrize("block", [32, 128, 1024])
def test_warps_meet_in_shared_memory(device, module, block):
    x = np.random.default_rng(1).integers(0, 100, 5 * block).astype(float)
    found = ran(device, module, "sums", 5, block, [x, np.zeros(5)], 1, shared_bytes=block // 32 * 8)
    np.testing.assert_array_equal(found, x.reshape(5, block).sum(axis=1))


def test_a_missing_barrier_shows(device, module):
    x = np.arange(64, dtype=np.float32)
    for wait in (1, 0):
        arguments = [x, np.zeros(128, np.float32), np.int32(wait)]
        y = ran(device, module, "rotate", 2, 64, arguments, 1, shared_bytes=256)
        assert np.array_equal(y, np.tile(np.roll(x, -1), 2)) == bool(wait)
        assert np.isnan(y).any() != bool(wait)


def test_modules_have_constants_of_their_own(device, module):
    other = device.compile(SOURCE)
    other.set_constants("numbers_f32", np.array([7], np.float32))
    other.set_constants("numbers_f64", np.array([0.0, 1]))
    x = np.ones((32, 2), np.float32)
    for one, value in ((module, 3), (other, 14)):
        y = ran(device, one, "scaled", 1, 32, [x, np.zeros(32, np.float32), np.True_], 1)
        assert (y == 2 * value).all()
    with pytest.raises(BlockError, match="after a launch"):
        other.set_constants("numbers_f32", np.zeros(1, np.float32))


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
    ],
)
def test_misuse_is_an_error_and_not_a_hang(device, module, how, message):
    y = np.zeros(3, np.int32)
    with pytest.raises(BlockError, match=message):
        ran(device, module, "misuse", 1, 64, [np.int32(how), y], 1, shared_bytes=64)
    # The device lives on.
    x = np.arange(32, dtype=np.float32)
    ran(device, module, "shift", 1, 32, [x, np.zeros(32), np.int32(1)], 1)


def test_reads_past_the_end_name_the_argument(device, module):
    x = np.zeros(100, np.float32)
    with pytest.raises(BlockError, match=r"byte (400|508) of argument 0, which has 400"):
        ran(device, module, "shift", 1, 128, [x, np.zeros(128), np.int32(0)], 1)


FLOATS, DOUBLES = np.zeros(32, np.float32), np.zeros(32)


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
        module.launch("shift", 1, 32, arguments, stream=device.stream())


def test_launches_stay_inside_the_limits(device, module):
    for grid, block, shared in ((0, 32, 0), (1, 48, 0), (1, 160, 0), (1, 32, 10**6)):
        with pytest.raises(BlockError):
            module.launch(
                "shift",
                grid,
                block,
                [FLOATS, DOUBLES, np.int32(1)],
                shared_bytes=shared,
                stream=device.stream(),
            )
    with pytest.raises(BlockError, match="no kernel 'shft'; it has"):
        module.launch("shft", 1, 32, [], stream=device.stream())
    with pytest.raises(BlockError, match="numbers_f32 has 16 bytes"):
        device.compile(SOURCE).set_constants("numbers_f32", np.zeros(5, np.float32))


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
    x = np.arange(256.0)
    found = ran(device, module, "sums", 2, 128, [x, np.zeros(2)], 1, shared_bytes=32)
    np.testing.assert_array_equal(found, x.reshape(2, 128).sum(axis=1))
    with pytest.raises(BlockError, match="wait for each other"):
        ran(
            device,
            module,
            "misuse",
            1,
            64,
            [np.int32(0), np.zeros(3, np.int32)],
            1,
            shared_bytes=64,
        )
