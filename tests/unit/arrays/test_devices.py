"""Devices run kernels: the one made of the CPU, and a card where there is one."""

import numpy as np
import pytest
from cuda_shim import ShimDevice

from gramserve.arrays import Device, cuda_unavailable, find_devices, namespace_of
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

// Every thread hands its number to its neighbour, with or without waiting; plus another, if any.
extern "C" __global__ void rotate(
    const float *x, float *y, int wait, const float *more) {
    GRAMSERVE_SHARED(memory);
    float *place = reinterpret_cast<float *>(memory);
    place[threadIdx.x] = x[threadIdx.x];
    if (wait) __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = place[(threadIdx.x + 1) % blockDim.x] +
                                             (more ? more[threadIdx.x] : 0);
}

extern "C" __global__ void scaled(const float2 *x, float *y, bool twice) {
    const float2 pair = x[threadIdx.x];
    y[threadIdx.x] = (pair.x + pair.y) * numbers_f32[0] * float(numbers_f64[1]) * (twice ? 2 : 1);
}
"""


@pytest.fixture(scope="module", params=["forward", "backward", "card"])
def device(request) -> Device:
    if request.param != "card":
        return ShimDevice(backward=request.param == "backward")
    reason = cuda_unavailable()
    if reason is not None:
        pytest.skip(reason)
    return find_devices()[0]


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


def test_sums_in_any_order_of_threads_have_the_same_bits(device, module):
    x = np.random.default_rng(2).normal(size=4 * 64)
    y = ran(device, module, "sums", 4, 64, [x, np.zeros(4)], 1, shared_bytes=16)
    warps = x.reshape(-1, 32)
    for bits in (16, 8, 4, 2, 1):
        warps = warps + warps[:, np.arange(32) ^ bits]
    np.testing.assert_array_equal(y, warps[::2, 0] + warps[1::2, 0])


def test_modules_have_constants_of_their_own(device, module):
    other = device.compile(SOURCE)
    other.set_constants("numbers_f32", np.array([7], np.float32))
    other.set_constants("numbers_f64", np.array([0.0, 1]))
    x = np.ones((32, 2), np.float32)
    for one, value in ((module, 3), (other, 14)):
        y = ran(device, one, "scaled", 1, 32, [x, np.zeros(32, np.float32), np.True_], 1)
        assert (y == 2 * value).all()


def test_null_pointers_and_large_shared_memory(device, module):
    x = np.arange(64, dtype=np.float32)
    arguments = [x, np.zeros(64, np.float32), np.int32(1), None]
    assert device.shared_bytes >= 96 * 1024
    y = ran(device, module, "rotate", 1, 64, arguments, 1, shared_bytes=device.shared_bytes)
    np.testing.assert_array_equal(y, np.roll(x, -1))
    y = ran(device, module, "rotate", 1, 64, [*arguments[:3], x], 1, shared_bytes=256)
    np.testing.assert_array_equal(y, np.roll(x, -1) + x)


def test_what_streams_hold_happens_in_order(device, module):
    stream = device.stream()
    x = np.arange(64, dtype=np.float32)
    before, after = np.zeros(64, np.float32), np.zeros(64)
    with stream:
        held = device.upload(x, stream)
        shifted = device.allocate(64, np.float64)
        device.download(held, before, stream)
        held += 1
        module.launch("shift", 1, 64, [held, shifted, np.int32(0)], stream=stream)
        with device.guard():
            shifted = namespace_of(shifted).multiply(shifted, 2)
        device.download(shifted, after, stream)
        del held, shifted
    stream.synchronize()
    np.testing.assert_array_equal(before, x)
    np.testing.assert_array_equal(after, 2 * (x + 1))


def test_uploads_are_copies_in_order_of_rows(device):
    stream = device.stream()
    x = np.arange(12.0).reshape(3, 4)
    array = device.upload(x.T, stream)
    x[...] = 0
    into = np.empty((4, 3))
    device.download(array, into, stream)
    stream.synchronize()
    np.testing.assert_array_equal(into, np.arange(12.0).reshape(3, 4).T)
    assert array.flags.c_contiguous


def test_downloads_fit(device):
    stream = device.stream()
    array = device.upload(np.zeros((2, 3)), stream)
    for into in (np.zeros((3, 2)), np.zeros((2, 3), np.float32)):
        with pytest.raises(BlockError, match="to be downloaded into"):
            device.download(array, into, stream)
    empty = np.zeros((0, 3))
    device.download(device.upload(empty, stream), empty, stream)
    stream.synchronize()


def test_short_memory_may_be_tried_again(device):
    free = device.free_bytes()
    assert 2**20 < free < 2**44
    with pytest.raises(DeviceMemoryError, match="smaller batches") as caught:
        device.allocate((2**45,), np.float64)
    assert caught.value.retryable
    array = device.allocate((2**20,), np.float32)
    with pytest.raises(DeviceMemoryError), device.guard():
        namespace_of(array).empty(2**48)


def test_errors_of_the_caller_stay_what_they_are(device):
    with pytest.raises(KeyError), device.guard():
        raise KeyError("mine")


def test_launches_of_other_things_are_refused(device, module):
    stream = device.stream()
    x, y = device.allocate(32, np.float32), device.allocate((32, 2), np.float64)
    for arguments in ([x, y[:, 0], np.int32(1)], [x, y, 1], [x, y, object()]):
        with pytest.raises(BlockError, match=r"argument \d"):
            module.launch("shift", 1, 32, arguments, stream=stream)
    with pytest.raises(BlockError):
        module.launch("absent", 1, 32, [x, y, np.int32(1)], stream=stream)
    with pytest.raises(BlockError, match="stream of another device"):
        module.launch("shift", 1, 32, [x, y, np.int32(1)], stream=None)
    with pytest.raises(BlockError):
        module.launch("shift", 1, 2048, [x, y, np.int32(1)], stream=stream)
    with pytest.raises(BlockError):
        device.compile(SOURCE).set_constants("absent", np.zeros(1))


def test_the_log_of_the_compiler_is_in_the_error(device):
    with pytest.raises(BlockError, match="undeclared_name"):
        device.compile('extern "C" __global__ void f(int *x) {\n x[0] = undeclared_name; }')
