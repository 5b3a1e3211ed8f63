"""What shim.h declares is CUDA: the same source compiles for cards, and means the same numbers."""

import numpy as np
import pytest
from cuda_resources import ARCHITECTURES, compile_for
from cuda_shim import ShimDevice
from scipy import special

ONE = {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "erf": special.erf,
    "erfc": special.erfc,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "fabs": np.abs,
    "floor": np.floor,
    "log": np.log,
    "log1p": np.log1p,
    "normcdf": special.ndtr,
    "rint": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
}
TWO = {
    "atan2": np.arctan2,
    "copysign": np.copysign,
    "fmax": np.maximum,
    "fmin": np.minimum,
    "fmod": np.fmod,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
}
ONLY_BY_SUFFIX = {"normcdf"}
"""CUDA has these for float under the name with an f alone."""
NO_SUFFIX = {"max", "min"}


def source():
    lines = []
    for name in ONE:
        if name not in ONLY_BY_SUFFIX:
            lines.append(f"y[k++] = {name}(a); z[k] = {name}(c);")
        else:
            lines.append(f"y[k++] = {name}f(a); z[k] = {name}(c);")
        lines.append(f"y[k++] = {name}f(a); z[k] = 0;")
    for name in TWO:
        suffix = "" if name in NO_SUFFIX else "f"
        lines.append(f"y[k++] = {name}(a, b); z[k] = {name}(c, d);")
        lines.append(f"y[k++] = {name}{suffix}(a, b); z[k] = 0;")
    body = "\n    ".join(line.replace("y[k++]", "y[k]").replace("z[k]", "z[k++]") for line in lines)
    return f"""
template <typename T>
__device__ __noinline__ T third(const T *__restrict__ x) {{ return __ldg(x + 2); }}

extern "C" __global__ void words(const float *x, const double *w, float *y, double *z, int *m) {{
    const float a = x[0], b = x[1];
    const double c = w[0], d = w[1];
    int k = 0;
    {body}
    y[k] = fma(a, b, third(x)), z[k++] = fma(c, d, third(w));
    y[k] = fmaf(a, b, 1.0f), z[k++] = isfinite(c) + isnan(a) + isfinite(b) + isnan(d);
    sincosf(a, &y[k], &y[k + 1]);
    sincos(c, &z[k], &z[k + 1]);
    m[0] = __popc(0x701u), m[1] = __ffs(8), m[2] = __clz(1), m[3] = __float_as_int(1.0f);
    m[4] = __int_as_float(m[3]) == 1.0f, m[5] = min(3, m[0]) + max(2, m[1]), m[6] = abs(-4);
    m[7] = warpSize + gridDim.x + blockDim.x;
    const float2 p = make_float2(1, 2);
    const float4 q = make_float4(1, 2, 3, 4);
    const double2 r = make_double2(1, 2);
    const int2 s = make_int2(1, 2);
    const int4 t = make_int4(1, 2, 3, 4);
    m[8] = int(p.y + q.w + r.y) + s.y + t.w;
    m[9] = int(sizeof(float4) + alignof(float4) + alignof(double2) + alignof(float2));
    const int above = __shfl_down_sync(0xffffffffu, int(threadIdx.x), 4u);
    if (threadIdx.x == 31) m[10] = above + 1;
    if (threadIdx.x == 7) m[11] = above;
}}
"""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cards_know_every_word(architecture):
    compiled = compile_for(source(), architecture)
    assert set(compiled.kernels) == {"words"}
    assert compiled.warnings == ""


def test_words_mean_their_numbers():
    device = ShimDevice()
    stream = device.stream()
    values = np.array([0.37, 1.43, -2.0])
    single = values.astype(np.float32)
    count = 2 * (len(ONE) + len(TWO)) + 4
    y, z = device.allocate(count, np.float32), device.allocate(count, np.float64)
    m = device.allocate(12, np.int32)
    inputs = [device.upload(single, stream), device.upload(values, stream)]
    device.compile(source()).launch("words", 1, 32, [*inputs, y, z, m], stream=stream)

    a, b = float(single[0]), float(single[1])
    c, d = values[:2]
    floats, doubles = [], []
    for function in ONE.values():
        floats += 2 * [function(a)]
        doubles += [function(c), 0]
    for function in TWO.values():
        floats += 2 * [function(a, b)]
        doubles += [function(c, d), 0]
    floats += [a * b - 2, a * b + 1, np.sin(a), np.cos(a)]
    doubles += [c * d - 2, 2, np.sin(c), np.cos(c)]
    np.testing.assert_allclose(y, floats, rtol=1e-6)
    np.testing.assert_allclose(z, doubles, rtol=1e-14)
    shifted = [31 + 1, 7 + 4]  # the last lane has no lane above and keeps its own
    one = int(np.float32(1).view(np.int32))
    assert m.tolist() == [4, 4, 31, one, 1, 3 + 4, 4, 32 + 1 + 32, 8 + 2 + 4, 56, *shifted]
